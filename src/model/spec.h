// What a decoder computes, as plain data: read from config.json and configs/families, after which nobody asks for the
// family.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "io/json.h"

namespace prentice {

enum class GgmlType : uint32_t;

enum class NormKind { rms, layer };
enum class Activation { silu, gelu_tanh, gelu };
enum class RopeKind { standard, linear, llama3, yarn, longrope };
enum class BlockKind { sequential, parallel };

// Rotary position embedding of one kind of layer (Su et al. 2021).
struct RopeSpec {
  RopeKind kind = RopeKind::standard;
  double theta = 10000;
  int64_t rotary_dim = 0;  // rotated features of a head
  double factor = 1, low_freq_factor = 1, high_freq_factor = 4;
  int64_t original_max_positions = 0;
  double beta_fast = 32, beta_slow = 1;             // yarn
  bool truncate = true;                             // yarn: whole dimensions bound the ramp
  std::vector<double> short_factors, long_factors;  // longrope, [rotary_dim / 2] each
  double attention_factor = 1;                      // of cosines and sines
  bool operator==(const RopeSpec&) const = default;
};

struct LayerSpec {
  int64_t rope = 0;    // index into ModelSpec::ropes
  int64_t window = 0;  // keys visible, self included; 0 = all
};

// How the family is written as GGUF, and what llama.cpp computes for that architecture.
struct GgufSpec {
  std::string architecture;
  bool permute_qk = false;
  Activation activation = Activation::silu;
  // Models of this depth divide scores by the root of the mean width of a head, hidden / heads; 0 = none does.
  int64_t mean_scale_layers = 0;
  // Features beyond a plain block with a head of its own, in the words of export/gguf_features: what the architecture
  // can have, and what it always has.
  std::vector<std::string> may, always;
};

// Norms of query and key heads before the rotation.
struct HeadNormSpec {
  NormKind kind = NormKind::rms;
  bool bias = false;
  bool each_head = false;  // a weight for every head; `{}` in the module's name is the head's number
};

// Hugging Face module names: of a layer below `layers`N., the others whole. One name in qkv or in a gated gate_up is a
// fused module with the rows of all. An empty norm name: the block has no such norm.
struct ModuleNames {
  std::string embed = "model.embed_tokens", layers = "model.layers.", final_norm = "model.norm", head = "lm_head";
  std::vector<std::string> qkv = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"};
  std::string o = "self_attn.o_proj";
  std::vector<std::string> gate_up = {"mlp.gate_proj", "mlp.up_proj"};
  std::string down = "mlp.down_proj";
  std::string input_norm = "input_layernorm", mlp_norm = "post_attention_layernorm";
  std::string attention_output_norm, mlp_output_norm;  // before the sum
  std::string query_norm, key_norm;
  std::map<std::string, std::string> stored_prefixes;  // how some files begin a name, and what it stands for
};

struct ModelSpec {
  std::string architecture;  // "LlamaForCausalLM", as in config.json
  int64_t hidden = 0, layers = 0, heads = 0, kv_heads = 0, head_dim = 0, feed_forward = 0, vocab = 0;
  int64_t labels = 0;  // rows of a score head in place of the vocabulary's; 0 = a language model
  int64_t max_positions = 0;
  NormKind norm = NormKind::rms;
  double norm_eps = 1e-6;
  double norm_offset = 0;  // y * (offset + w)
  std::optional<HeadNormSpec> head_norm;
  BlockKind block = BlockKind::sequential;
  bool qkv_bias = false, o_bias = false, mlp_bias = false, head_bias = false;
  bool gated_mlp = true;
  bool tied_head = false;
  Activation activation = Activation::silu;
  double embed_scale = 1;
  double attention_scale = 0;  // of q.k
  double attention_softcap = 0, final_softcap = 0;
  double initializer_range = 0.02;
  std::vector<RopeSpec> ropes;
  std::vector<LayerSpec> layer;           // one each
  std::vector<int32_t> bos_ids, eos_ids;  // of config.json; generation_config.json wins for stopping
  std::optional<int32_t> pad_id;          // what a score looks past (model/score.h)
  std::string section;  // of config.json, which this decoder is, beside a model of images, say; empty = it is all
  ModuleNames names;
  std::vector<std::string> ignorable_tensors;  // patterns of stored tensors that are not weights
  GgufSpec gguf;
  std::map<std::string, GgmlType> blocks;  // of a GGUF file: the tensors that stay in its blocks
  Json config;                             // as read: export writes it back; of a GGUF file what a folder would say
};

// Of a Hugging Face folder or a GGUF file. Errors: `usage` when it is missing; `model` for a family, value or key that
// would change the arithmetic and is not supported, by name.
ModelSpec read_spec(const std::filesystem::path& model);
// `origin`: what messages call it.
ModelSpec read_spec(const Json& config, const std::string& origin = "config.json");

// The same decoder with one score in place of the vocabulary's logits: the class that transformers has for it, with a
// head `score` that no file of the language model holds. Of a model that has labels, itself. Errors: `model` for a
// family without such a class.
ModelSpec with_score_head(ModelSpec spec);

// The spec with config.json's pad_token_id set.
ModelSpec with_pad_token(ModelSpec spec, int32_t id);

// The same decoder as a model of its own: the config.json and the tensor names of the family's first architecture, in
// the same order. Of a model that is nothing else, itself.
ModelSpec decoder_alone(const ModelSpec& spec);

}  // namespace prentice
