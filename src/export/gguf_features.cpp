#include "export/gguf_features.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string_view>

#include "core/error.h"
#include "core/word_list.h"

namespace prentice {

namespace {

// A word that configs/families uses under `gguf`, whether the model has it, and how a person calls it.
struct Feature {
  std::string_view word;
  bool present;
  std::string_view what;
};

bool windows_every_other_layer(const ModelSpec& spec) {
  for (size_t i = 0; i < spec.layer.size(); ++i) {
    if ((spec.layer[i].window > 0) != (i % 2 == 0)) return false;
  }
  return true;
}

std::vector<Feature> features_of(const ModelSpec& spec) {
  const auto& rope = spec.ropes.at(global_rope(spec));
  const bool shared_norms = spec.head_norm && !spec.head_norm->each_head && spec.head_norm->kind == NormKind::rms;
  const bool own_norms = spec.head_norm && spec.head_norm->each_head && !spec.head_norm->bias;
  const double root = std::sqrt(static_cast<double>(spec.hidden));
  return {
      {"layer_norm", spec.norm == NormKind::layer, "LayerNorm"},
      {"parallel", spec.block == BlockKind::parallel, "attention and MLP side by side"},
      {"plain_mlp", !spec.gated_mlp, "an MLP without a gate"},
      {"output_norms", !spec.names.attention_output_norm.empty(), "norms behind attention and MLP"},
      {"head_norms", shared_norms, "norms of query and key heads"},
      {"norm_of_each_head", own_norms, "a norm of its own for every head"},
      {"other_head_norms", spec.head_norm && !shared_norms && !own_norms, "LayerNorms of query and key heads"},
      {"partial_rotation", rope.rotary_dim != spec.head_dim, "a rotation of a part of each head"},
      {"longrope", rope.kind == RopeKind::longrope, "longrope scaling"},
      {"two_rotations", spec.ropes.size() > 1, "layers that differ in rotary positions"},
      {"scaled_embedding", std::abs(spec.embed_scale - root) < 1e-6 * root && spec.hidden > 1, "scaled embeddings"},
      {"otherwise_scaled_embedding", spec.embed_scale != 1 && std::abs(spec.embed_scale - root) >= 1e-6 * root,
       "an embedding scale of its own"},
      {"attention_softcap", spec.attention_softcap != 0, "a soft cap on scores"},
      {"final_softcap", spec.final_softcap != 0, "a soft cap on logits"},
      {"o_bias", spec.o_bias, "a bias behind attention"},
      {"mlp_bias", spec.mlp_bias, "biases in the MLP"},
      {"head_bias", spec.head_bias, "a bias of the head"},
      {"tied_head", spec.tied_head, "a head that is the embedding"},
      {"free_head_width", spec.heads * spec.head_dim != spec.hidden,
       "heads that together are not as wide as the model"},
      {"window_every_other", windows_every_other_layer(spec), "a window in every other layer"},
  };
}

// llama.cpp takes these from the factor; keys for other values are not written.
bool own_yarn(const RopeSpec& rope) {
  if (rope.kind != RopeKind::yarn) return false;
  const double usual = rope.factor <= 1 ? 1 : 0.1 * std::log(rope.factor) + 1;
  return rope.beta_fast != 32 || rope.beta_slow != 1 || !rope.truncate ||
         std::abs(rope.attention_factor / usual - 1) > 1e-6;
}

[[noreturn]] void refuse(const std::string& reason) {
  fail(ExitCode::model, "this model cannot be written as GGUF: " + reason,
       "export a merged Hugging Face folder instead");
}

}  // namespace

size_t global_rope(const ModelSpec& spec) {
  for (const auto& layer : spec.layer) {
    if (layer.window == 0) return static_cast<size_t>(layer.rope);
  }
  return 0;
}

// Windows are no feature that is refused: where llama.cpp ignores them, a shorter context computes the same.
bool obeys_windows(const ModelSpec& spec) {
  return holds(spec.gguf.may, "windows") || holds(spec.gguf.always, "window_every_other");
}

int64_t widest_window(const ModelSpec& spec) {
  int64_t window = 0;
  for (const auto& layer : spec.layer) window = std::max(window, layer.window);
  return window;
}

void check_gguf_can_express(const ModelSpec& spec) {
  const std::string& architecture = spec.gguf.architecture;
  if (architecture.empty()) refuse("its family names no GGUF architecture");
  if (spec.labels > 0) refuse("its head gives scores and no words");
  for (const auto& [word, present, what] : features_of(spec)) {
    const bool always = holds(spec.gguf.always, word);
    if (present && !always && !holds(spec.gguf.may, word) && word != "window_every_other") {
      refuse(fmt::format("it has {}, and llama.cpp's '{}' has not", what, architecture));
    }
    if (!present && always) refuse(fmt::format("it lacks {}, which llama.cpp's '{}' has", what, architecture));
  }
  if (spec.activation != spec.gguf.activation) {
    refuse(fmt::format("llama.cpp's '{}' has another activation in its MLP", architecture));
  }
  const bool mean = spec.layers == spec.gguf.mean_scale_layers;
  const double usual_scale = 1 / std::sqrt(static_cast<double>(mean ? spec.hidden / spec.heads : spec.head_dim));
  if (std::abs(spec.attention_scale / usual_scale - 1) > 1e-6) refuse("it has an attention scale of its own");
  for (const auto& rope : spec.ropes) {
    if (own_yarn(rope)) refuse("its yarn scaling has settings of its own");
  }
  const auto& local = spec.ropes.at(spec.ropes.size() > 1 ? 1 - global_rope(spec) : global_rope(spec));
  if (spec.ropes.size() > 1 && local.kind != RopeKind::standard) refuse("its windowed layers scale their rotation");
}

int64_t gguf_context(const ModelSpec& spec) {
  const int64_t window = widest_window(spec);
  int64_t context = spec.max_positions;
  if (window > 0 && !obeys_windows(spec)) context = std::min(context, window);
  // Above, llama.cpp takes the long factors for short prompts too: it decides by the size of the context.
  const auto& rope = spec.ropes.at(global_rope(spec));
  if (rope.kind == RopeKind::longrope) context = std::min(context, rope.original_max_positions);
  return context;
}

std::vector<std::string> gguf_warnings(const ModelSpec& spec) {
  std::vector<std::string> warnings;
  const int64_t window = widest_window(spec);
  constexpr const char* kCommands = "; the commands for the GGUF files say so";
  if (window > 0 && window < spec.max_positions && !obeys_windows(spec)) {
    warnings.push_back(
        fmt::format("llama.cpp ignores this model's attention window: it computes the same up to {} tokens only{}",
                    window, kCommands));
  }
  const auto& rope = spec.ropes.at(global_rope(spec));
  if (rope.kind == RopeKind::longrope && rope.original_max_positions < spec.max_positions) {
    warnings.push_back(
        fmt::format("llama.cpp chooses this model's rotary factors by the context size and not by the text: a context "
                    "above {} changes short prompts too{}",
                    rope.original_max_positions, kCommands));
  }
  return warnings;
}

}  // namespace prentice
