// PEFT adapter folders: adapter_config.json and adapter_model.safetensors, both ways.
#pragma once

#include <filesystem>
#include <string>

#include "config/schema.h"
#include "model/model.h"

namespace prentice {

// What an adapter folder says about itself, without a model.
struct PeftConfig {
  int64_t rank = 0;
  double alpha = 0, dropout = 0;
  bool rslora = false;
  std::vector<std::string> targets;
  std::map<std::string, int64_t> rank_pattern;
  std::map<std::string, double> alpha_pattern;
  std::string base_model;
};
PeftConfig read_peft_config(
    const std::filesystem::path& folder);  // errors: `usage` missing, `model` corrupt or unsupported

// Attaches the adapter in `folder`. Every tensor must find its module and shape, and every targeted module its tensors.
void load_peft(Model&, const std::filesystem::path& folder);

// Writes the folder (which must exist). dtype: f32, bf16 or f16. Loads in `peft`.
void save_peft(const Model&, const std::filesystem::path& folder, const std::string& base_model,
               const std::string& dtype);

}  // namespace prentice
