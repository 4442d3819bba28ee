#include "export/gguf_model.h"

#include <fstream>

#include "export/gguf_features.h"
#include "export/gguf_tensor_type.h"
#include "export/tiny.h"
#include "model/gguf_names.h"
#include "model/gguf_rope.h"
#include "proof/verify.h"
#include "quant/encode.h"

namespace prentice {
namespace {

TEST(GgufNames, FollowTheMap) {
  const auto spec = read_spec(tiny_config());
  const std::pair<const char*, const char*> cases[] = {
      {"model.embed_tokens.weight", "token_embd.weight"},
      {"model.norm.weight", "output_norm.weight"},
      {"lm_head.weight", "output.weight"},
      {"model.layers.0.input_layernorm.weight", "blk.0.attn_norm.weight"},
      {"model.layers.12.self_attn.q_proj.weight", "blk.12.attn_q.weight"},
      {"model.layers.12.self_attn.k_proj.bias", "blk.12.attn_k.bias"},
      {"model.layers.1.self_attn.v_proj.weight", "blk.1.attn_v.weight"},
      {"model.layers.1.self_attn.o_proj.weight", "blk.1.attn_output.weight"},
      {"model.layers.1.mlp.gate_proj.weight", "blk.1.ffn_gate.weight"},
      {"model.layers.1.mlp.up_proj.weight", "blk.1.ffn_up.weight"},
      {"model.layers.1.mlp.down_proj.weight", "blk.1.ffn_down.weight"},
      {"model.layers.1.post_attention_layernorm.weight", "blk.1.ffn_norm.weight"},
  };
  for (const auto& [from, to] : cases) EXPECT_EQ(gguf_name(from, spec), to);
  for (const auto* name :
       {"model.layers.1.mlp.experts.0.weight", "x", "model.layers.x", "model.norm", "lm_head.scale"}) {
    EXPECT_TRUE(contains(message_of([&] { gguf_name(name, spec); }), "has no place in a GGUF file")) << name;
  }
}

// By what a module is to its family, not by its name.
TEST(GgufNames, FollowTheFamily) {
  ModelSpec spec = read_spec(tiny_config());
  spec.names.qkv = {"self_attn.qkv_proj"};
  spec.names.gate_up = {"mlp.gate_up_proj"};
  spec.names.mlp_norm = "pre_feedforward_layernorm";
  spec.names.attention_output_norm = "post_attention_layernorm";
  spec.names.mlp_output_norm = "post_feedforward_layernorm";
  spec.names.query_norm = "self_attn.q_layernorm.norms.{}";
  const std::pair<const char*, const char*> cases[] = {
      {"model.layers.3.self_attn.qkv_proj.weight", "blk.3.attn_qkv.weight"},
      {"model.layers.3.mlp.gate_up_proj.weight", "blk.3.ffn_up.weight"},
      {"model.layers.3.pre_feedforward_layernorm.weight", "blk.3.ffn_norm.weight"},
      {"model.layers.3.post_attention_layernorm.weight", "blk.3.post_attention_norm.weight"},
      {"model.layers.3.post_feedforward_layernorm.weight", "blk.3.post_ffw_norm.weight"},
      {"model.layers.3.self_attn.q_layernorm.norms.11.weight", "blk.3.attn_q_norm.weight"},
  };
  for (const auto& [from, to] : cases) EXPECT_EQ(gguf_name(from, spec), to);
  EXPECT_TRUE(contains(message_of([&] { gguf_name("model.layers.3.self_attn.q_layernorm.norms.x.weight", spec); }),
                       "has no place"));
}

// llama.cpp's permutation, per head: view [2, E/2, in], swapped to [E/2, 2, in].
TEST(GgufNames, QueryAndKeyRowsAreInterleavedPerHead) {
  auto spec = read_spec(tiny_config());
  const auto order = gguf_row_order("blk.0.attn_k.weight", spec);
  const int64_t expected[] = {0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13};
  for (int64_t row = 0; row < 12; ++row) EXPECT_EQ(order(row), expected[row]);
  EXPECT_EQ(gguf_row_order("blk.0.attn_q.bias", spec)(1), 4);
  EXPECT_EQ(gguf_row_order("blk.0.attn_v.weight", spec)(1), 1);
  spec.gguf.permute_qk = false;
  EXPECT_EQ(gguf_row_order("blk.0.attn_q.weight", spec)(1), 1);
}

TEST(GgufNames, TypesFollowTheRule) {
  struct Case {
    const char* name;
    std::vector<int64_t> shape;
    GgmlType wanted;
    std::map<std::string, std::string> types;
    GgmlType expected;
  };
  const Case cases[] = {
      {"blk.0.attn_q.weight", {64, 64}, GgmlType::Q8_0, {}, GgmlType::Q8_0},
      {"token_embd.weight", {100, 64}, GgmlType::Q8_0, {}, GgmlType::Q8_0},
      {"blk.0.ffn_down.weight", {64, 172}, GgmlType::Q8_0, {}, GgmlType::F16},
      {"blk.0.ffn_down.weight", {64, 256}, GgmlType::Q4_K, {}, GgmlType::Q4_K},
      {"blk.0.ffn_down.weight", {64, 160}, GgmlType::Q2_K, {}, GgmlType::Q4_0},
      {"blk.0.ffn_down.weight", {64, 160}, GgmlType::Q3_K, {}, GgmlType::Q4_0},
      {"blk.0.ffn_down.weight", {64, 160}, GgmlType::Q4_K, {}, GgmlType::Q5_0},
      {"blk.0.ffn_down.weight", {64, 160}, GgmlType::Q5_K, {}, GgmlType::Q5_1},
      {"blk.0.ffn_down.weight", {64, 160}, GgmlType::Q6_K, {}, GgmlType::Q8_0},
      {"blk.0.ffn_down.weight", {64, 172}, GgmlType::Q4_K, {}, GgmlType::F16},
      {"blk.3.attn_v.weight", {64, 256}, GgmlType::Q8_0, {{"attn_v", "Q4_K"}}, GgmlType::Q4_K},
      {"blk.0.attn_norm.weight", {64}, GgmlType::Q8_0, {}, GgmlType::F32},
      {"blk.0.attn_q_norm.weight", {6, 8}, GgmlType::F16, {}, GgmlType::F32},
      {"blk.0.attn_q.bias", {64}, GgmlType::BF16, {}, GgmlType::F32},
      {"output.weight", {64, 64}, GgmlType::BF16, {}, GgmlType::BF16},
      {"blk.3.attn_v.weight", {64, 64}, GgmlType::Q8_0, {{"attn_v", "F16"}}, GgmlType::F16},
      {"blk.3.attn_v.weight", {64, 64}, GgmlType::Q8_0, {{"blk\\.[0-2]\\.attn_v\\.weight", "F16"}}, GgmlType::Q8_0},
      {"blk.3.attn_v.weight", {64, 64}, GgmlType::F16, {{"blk\\.\\d\\..*", "Q8_0"}}, GgmlType::Q8_0},
  };
  for (const auto& [name, shape, wanted, types, expected] : cases) {
    EXPECT_EQ(gguf_tensor_type(name, shape, wanted, types), expected) << name;
  }
  ExitCode code = ExitCode::ok;
  EXPECT_EQ(message_of(
                [&] {
                  gguf_tensor_type("a.weight", {32, 32}, GgmlType::F16, {{"a", "Q9"}});
                },
                &code),
            "export.types: a: unknown type \"Q9\"");
  EXPECT_EQ(code, ExitCode::usage);
}

// The divisors of Llama 3.1, by transformers.
TEST(GgufMetadata, Llama3ScalingBecomesDivisors) {
  const RopeSpec rope{.kind = RopeKind::llama3,
                      .theta = 5e5,
                      .rotary_dim = 128,
                      .factor = 8,
                      .low_freq_factor = 1,
                      .high_freq_factor = 4,
                      .original_max_positions = 8192};
  const auto divisors = rope_divisors(rope);
  ASSERT_EQ(divisors.size(), 64u);
  const double middle[] = {1.207484, 1.553415, 2.026313, 2.694530, 3.684253, 5.257327};
  for (int j = 0; j <= 28; ++j) EXPECT_EQ(divisors[j], 1.0f) << j;
  for (int j = 29; j <= 34; ++j) EXPECT_NEAR(divisors[j], middle[j - 29], 1e-6) << j;
  for (int j = 35; j < 64; ++j) EXPECT_EQ(divisors[j], 8.0f) << j;
  EXPECT_TRUE(rope_divisors({.kind = RopeKind::linear, .rotary_dim = 128, .factor = 8}).empty());
}

TEST(GgufMetadata, WhatLlamaCppWouldComputeDifferentlyIsRefused) {
  const auto good = read_spec(tiny_config());
  EXPECT_NO_THROW(check_gguf_can_express(good));
  const std::pair<std::function<void(ModelSpec&)>, const char*> cases[] = {
      {[](ModelSpec& s) { s.norm = NormKind::layer; }, "it has LayerNorm"},
      {[](ModelSpec& s) { s.activation = Activation::gelu; }, "another activation in its MLP"},
      {[](ModelSpec& s) { s.embed_scale = 8; }, "an embedding scale of its own"},
      {[](ModelSpec& s) { s.attention_scale *= 2; }, "an attention scale of its own"},
      {[](ModelSpec& s) { s.final_softcap = 30; }, "a soft cap on logits"},
      {[](ModelSpec& s) { s.ropes.push_back(s.ropes[0]); }, "layers that differ in rotary positions"},
      {[](ModelSpec& s) { s.head_norm.emplace(); }, "norms of query and key heads"},
      {[](ModelSpec& s) { s.ropes[0].rotary_dim /= 2; }, "a rotation of a part of each head"},
      {[](ModelSpec& s) { s.ropes[0].kind = RopeKind::yarn, s.ropes[0].beta_fast = 8; }, "settings of its own"},
      {[](ModelSpec& s) { s.gguf.architecture = ""; }, "no GGUF architecture"},
  };
  for (const auto& [change, reason] : cases) {
    auto spec = good;
    change(spec);
    EXPECT_TRUE(contains(message_of([&] { check_gguf_can_express(spec); }), reason)) << reason;
  }
  auto window = good;
  for (auto& layer : window.layer) layer.window = 16;
  EXPECT_TRUE(gguf_warnings(good).empty());
  ASSERT_EQ(gguf_warnings(window).size(), 1u);
  EXPECT_TRUE(contains(gguf_warnings(window)[0], "up to 16 tokens only"));
}

// A tensor of more than one block: rows are ordered within their heads in every block.
TEST(GgufModel, RowsMoveTheSameWayInEveryBlock) {
  auto config = tiny_config();
  config["hidden_size"] = 1024;
  config["num_attention_heads"] = 48;
  config["head_dim"] = 128;
  config["num_hidden_layers"] = 1;
  const auto model = tiny_model(config);
  const auto source = WeightSource::from_model(model);
  const std::string name = "model.layers.0.self_attn.q_proj.weight";
  const auto rows = values_of(source, name);
  for (const auto& plan : plan_gguf_tensors(source, model.spec, {.type = FileType::F32})) {
    if (plan.info.name != "blk.0.attn_q.weight") continue;
    std::vector<float> ordered;
    int blocks = 0;
    for_each_gguf_block(source, plan, [&](std::span<const float> values) {
      ordered.insert(ordered.end(), values.begin(), values.end());
      ++blocks;
    });
    EXPECT_GT(blocks, 1);
    ASSERT_EQ(ordered.size(), rows.size());
    for (int64_t head = 0; head < 48; ++head) {
      for (int64_t j = 0; j < 64; ++j) {  // the permutation: row 2j is row j, row 2j+1 is row j + 64
        EXPECT_EQ(ordered[(head * 128 + 2 * j) * 1024], rows[(head * 128 + j) * 1024]);
        EXPECT_EQ(ordered[(head * 128 + 2 * j + 1) * 1024 + 1023], rows[(head * 128 + j + 64) * 1024 + 1023]);
      }
    }
  }
}

// A real model in every type: written, read back strictly, equal within the rounding of the type.
TEST(GgufModel, EveryTypeIsVerifiedAndDamageIsSeen) {
  const auto folder = shared_model("stories260K-hf");
  PRENTICE_NEEDS_SHARED(folder);
  const Scratch scratch;
  const auto spec = read_spec(folder);
  const auto tokenizer = Tokenizer::load(folder);
  const auto source = WeightSource::from_folder(spec, folder);
  for (const auto type : {FileType::F32, FileType::F16, FileType::BF16, FileType::Q8_0, FileType::Q4_0,
                          FileType::Q4_K_M, FileType::Q2_K}) {
    const GgufOptions options{.type = type, .name = "tiny", .chat_template = "{{ messages }}"};
    const auto path = scratch / (std::string(file_type_name(type)) + ".gguf");
    write_gguf(source, spec, tokenizer, path, options);
    const auto verification = verify_gguf(path, source, spec, tokenizer, options);
    EXPECT_TRUE(verification.passed()) << verification_json(verification);

    const auto file = GgufReader::open(path);
    const auto* weight = file.find_tensor("blk.1.attn_k.weight");
    const auto* start = reinterpret_cast<const char*>(weight->bytes.data());
    auto bytes = read_text_file(path);
    const size_t at = bytes.find(std::string(start, 64));
    // A bit of a float's exponent, or the lowest of a code.
    const bool blocks = ggml_type_info(weight->type).block_elements > 1;
    bytes[at + (blocks ? 5 : type == FileType::F32 ? 3 : 1)] ^= blocks ? 1 : 0x20;
    std::ofstream(scratch / "damaged.gguf", std::ios::trunc) << bytes;
    EXPECT_FALSE(verify_gguf(scratch / "damaged.gguf", source, spec, tokenizer, options).passed());
    const GgufOptions other{.type = type, .name = "tiny", .chat_template = "{{ message }}"};
    EXPECT_FALSE(verify_gguf(path, source, spec, tokenizer, other).passed());
  }
}

// Seen on llama.cpp 0.5.0: std::out_of_range while loading.
TEST(GgufModel, AVocabularyThatLlamaCppDiesOfIsRefused) {
  const auto folder = shared_model("babyllama105-hf");
  PRENTICE_NEEDS_SHARED(folder);
  const Scratch scratch;
  const auto spec = read_spec(folder);
  ExitCode code = ExitCode::ok;
  EXPECT_TRUE(contains(message_of(
                           [&] {
                             write_gguf(WeightSource::from_folder(spec, folder), spec, Tokenizer::load(folder),
                                        scratch / "a.gguf", {});
                           },
                           &code),
                       "has no byte token <0x00>"));
  EXPECT_EQ(code, ExitCode::model);
  EXPECT_FALSE(std::filesystem::exists(scratch / "a.gguf"));
}

TEST(GgufMetadata, HoldsWhatLlamaCppAsksFor) {
  const auto folder = shared_model("stories260K-hf");
  PRENTICE_NEEDS_SHARED(folder);
  const Scratch scratch;
  const auto spec = read_spec(folder);
  const auto tokenizer = Tokenizer::load(folder);
  write_gguf(WeightSource::from_folder(spec, folder), spec, tokenizer, scratch / "a.gguf",
             {.type = FileType::Q8_0, .name = "my-Phi-3", .stop_id = 7});
  const auto file = GgufReader::open(scratch / "a.gguf");
  EXPECT_EQ(file.get<std::string>("general.architecture"), "llama");
  EXPECT_EQ(file.get<std::string>("general.name"), "model") << "a name that makes llama.cpp look for Phi-3's tokens";
  const std::pair<const char*, uint32_t> numbers[] = {
      {"llama.context_length", 512},         {"llama.embedding_length", 64},     {"llama.block_count", 5},
      {"llama.feed_forward_length", 172},    {"llama.attention.head_count", 8},  {"llama.attention.head_count_kv", 4},
      {"llama.rope.dimension_count", 8},     {"llama.vocab_size", 512},          {"general.file_type", 7},
      {"general.quantization_version", 2},   {"tokenizer.ggml.bos_token_id", 1}, {"tokenizer.ggml.eos_token_id", 7},
      {"tokenizer.ggml.unknown_token_id", 0}};
  for (const auto& [key, value] : numbers) EXPECT_EQ(file.get<uint32_t>(key), value) << key;
  EXPECT_EQ(file.get<float>("llama.attention.layer_norm_rms_epsilon"), 1e-5f);
  EXPECT_EQ(file.get<float>("llama.rope.freq_base"), 10000.0f);
  EXPECT_EQ(file.get<std::string>("tokenizer.ggml.model"), "llama");
  EXPECT_EQ(file.get<std::string>("tokenizer.ggml.pre"), "default");
  EXPECT_TRUE(file.get<bool>("tokenizer.ggml.add_bos_token"));
  EXPECT_EQ(file.get<GgufArray>("tokenizer.ggml.scores").count, 512u);
  EXPECT_EQ(file.find("tokenizer.chat_template"), nullptr);
  EXPECT_EQ(file.find_tensor("output.weight"), nullptr) << "the head is tied";
}

TEST(GgufMetadata, RowsBeyondTheVocabularyAreUnusedTokens) {
  const auto folder = shared_model("stories260K-hf");
  PRENTICE_NEEDS_SHARED(folder);
  const auto tokenizer = Tokenizer::load(folder);
  const auto tables = padded_tables(tokenizer, 515);
  EXPECT_EQ(tables.tokens[514], "[PAD514]");
  EXPECT_EQ(tables.types[512], TokenType::unused);
  EXPECT_EQ(tables.scores[514], -10000.0f);
  ExitCode code = ExitCode::ok;
  EXPECT_EQ(message_of([&] { padded_tables(tokenizer, 511); }, &code),
            "the tokenizer has 512 entries, the embedding 511 rows");
  EXPECT_EQ(code, ExitCode::model);
}

}  // namespace
}  // namespace prentice
