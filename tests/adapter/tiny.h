// What the tests of adapters share: a tiny model with random weights, a batch, its logits, and the words of errors.
#pragma once

#include <ATen/ops/rand.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <string>

#include "adapter/lora.h"
#include "adapter/saved_modules.h"
#include "core/error.h"
#include "model/golden.h"
#include "model/model.h"

namespace prentice {

inline ModelSpec tiny_spec(bool tied = false) {
  Json::Object config = {{"architectures", Json::Array{"LlamaForCausalLM"}},
                         {"model_type", "llama"},
                         {"hidden_size", 16},
                         {"intermediate_size", 24},
                         {"num_hidden_layers", 3},
                         {"num_attention_heads", 4},
                         {"num_key_value_heads", 2},
                         {"vocab_size", 41},
                         {"max_position_embeddings", 64},
                         {"rms_norm_eps", 1e-5},
                         {"rope_theta", 10000.0},
                         {"hidden_act", "silu"},
                         {"initializer_range", 0.3},
                         {"tie_word_embeddings", tied}};
  return read_spec(Json(config));
}

inline Model tiny_model(c10::ScalarType type = at::kDouble, bool tied = false) {
  return random_model(tiny_spec(tied), 5, {.dtype = type, .device = at::kCPU});
}

inline Batch tiny_batch() { return flat_batch({{1, 7, 30, 2, 12, 40, 3}, {1, 5, 6, 39}, {1, 22, 9, 9, 31}}); }

inline Tensor tiny_logits(const Model& model) {
  const c10::NoGradGuard no_grad;
  return logits(model, forward_hidden(model, tiny_batch(), {}));
}

// Moves all that trains, as training would: a B, and an embedding's A, gets values of its own; a magnitude and a
// module saved whole something on top.
inline void disturb(Model& model) {
  const c10::NoGradGuard no_grad;
  at::manual_seed(3);
  const auto noise = [](const Tensor& like) { return at::rand(like.sizes(), like.options()).sub_(0.5); };
  visit_loras(model, [&](const std::string& module, Lora& lora) {
    Tensor& zero = module == model.spec.names.embed ? lora.a : lora.b;
    zero = zero + noise(zero);
    if (lora.magnitude.defined()) lora.magnitude = lora.magnitude + noise(lora.magnitude);
  });
  for (auto& [name, tensor] : saved_tensors(model)) tensor.add_(noise(tensor), 0.3);
}

inline AdapterSection lora_section(std::vector<std::string> targets = {"all-linear"}, int64_t rank = 4) {
  AdapterSection section;
  section.targets = std::move(targets);
  section.rank = rank;
  return section;
}

inline std::vector<std::string> adapted(const Model& model) {
  std::vector<std::string> names;
  visit_linears(model, [&](const Linear& linear) {
    if (linear.lora) names.push_back(linear.name);
  });
  return names;
}

inline const Linear& find_linear(const Model& model, const std::string& name) {
  const Linear* found = nullptr;
  visit_linears(model, [&](const Linear& linear) {
    if (linear.name == name) found = &linear;
  });
  if (!found) fail(ExitCode::internal, "no linear " + name);
  return *found;
}

// "code: message | hint" of the error that `body` throws; "" when it throws none.
inline std::string error_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    std::string text = std::to_string(static_cast<int>(error.code()));
    for (const auto& diagnostic : error.diagnostics()) {
      text += (text.size() < 3 ? ": " : "\n") + to_string(diagnostic);
      if (!diagnostic.hint.empty()) text += " | " + diagnostic.hint;
    }
    return text;
  }
  return "";
}

}  // namespace prentice
