// Tiny models for export tests: random weights under any config, and the shared real model where it is present.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "export/hf_folder.h"
#include "io/json.h"
#include "io/scratch.h"
#include "model/model.h"

namespace prentice {

inline std::filesystem::path shared_model(const std::string& name) {
  const char* data = std::getenv("PRENTICE_TEST_DATA");
  return std::filesystem::path(data != nullptr ? data : "../shared/data") / "models" / name;
}

#define PRENTICE_NEEDS_SHARED(path) \
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "no test data at " << (path)

// A Llama shape with every dimension different, so that a swapped one shows.
inline Json tiny_config() {
  return Json::parse(R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 48,
      "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 6, "num_key_value_heads": 3,
      "head_dim": 8, "vocab_size": 40, "max_position_embeddings": 64, "rms_norm_eps": 1e-05, "rope_theta": 10000.0,
      "tie_word_embeddings": false, "torch_dtype": "float32", "attention_bias": true, "hidden_act": "silu"})");
}

inline Model tiny_model(const Json& config, uint64_t seed = 7) {
  return random_model(read_spec(config), seed, {.dtype = at::kFloat, .device = at::kCPU});
}

// All values of a source's tensor.
inline std::vector<float> values_of(const WeightSource& source, const std::string& name) {
  std::vector<float> all;
  for (size_t i = 0; i < source.tensors().size(); ++i) {
    if (source.tensors()[i].name != name) continue;
    for_each_block(source, i, 1, [&](int64_t, int64_t, std::span<const float> values) {
      all.insert(all.end(), values.begin(), values.end());
    });
  }
  return all;
}

// Writes the model as a folder of `type`; the companions are `companions` (a folder that may hold nothing).
inline void write_tiny(const Model& model, const std::filesystem::path& out, GgmlType type,
                       const std::filesystem::path& companions) {
  std::filesystem::create_directories(out);
  write_hf_folder(WeightSource::from_model(model), model.spec, companions, out, {.type = type});
}

}  // namespace prentice
