// PEFT adapter folders: adapter_config.json and adapter_model.safetensors, both ways.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "adapter/targets.h"
#include "model/model.h"

namespace prentice {

// What an adapter folder says about itself, without a model.
struct PeftConfig {
  int64_t rank = 8;  // PEFT's defaults for keys that are absent
  double alpha = 8, dropout = 0;
  bool rslora = false, dora = false;
  std::vector<std::string> targets;  // names, or one expression
  bool targets_are_expression = false;
  std::vector<std::string> excluded;
  bool excluded_are_expression = false;
  std::vector<int64_t> layers;              // layers_to_transform; empty = all
  std::vector<std::string> layer_prefixes;  // layers_pattern
  EndPatterns<int64_t> rank_pattern;        // in file order: the first match wins
  EndPatterns<double> alpha_pattern;
  std::vector<std::string> modules_to_save;
  bool ensure_tying = false;  // a tied model stays tied although its embedding or head is saved
  bool scores = false;        // task SEQ_CLS: it came with a score head, which is among modules_to_save
  std::string base_model;     // "" when the folder does not say
};

// Errors: `usage` when folder or file are missing; `model` when corrupt, or when a key that changes what the adapter
// computes holds what this version does not have (by name). Keys known to change nothing are ignored.
PeftConfig read_peft_config(const std::filesystem::path& folder);

TargetRule target_rule(const PeftConfig&);

// Attaches the adapter in `folder` to a model that has none (adapter/peft_folder.h says what must fit). A tied model
// whose embedding and head part becomes an untied one.
// Errors: `usage` when missing or when the model has an adapter; `model`, all tensors at fault named.
void load_peft(Model&, const std::filesystem::path& folder);

// The text of adapter_config.json for the adapters in memory, with exactly the keys every PEFT since 0.11 reads.
std::string peft_config_json(const Model&, const std::string& base_model);

// PiSSA's adapter changes the base, so it goes out as what it comes to against the original base: twice the rank,
// B A - B0 A0 (Meng et al. 2024). What goes out of any other adapter is itself.
struct OutgoingFactors {
  Tensor a, b;
  double alpha = 0;
};
OutgoingFactors outgoing_factors(const Lora&);

// Writes the folder (which must exist and hold neither file). dtype: f32, bf16 or f16; `metadata` goes into the header
// of the weights. Loads in `peft`. Errors: `usage` when the model has no adapter or dtype is another word; `storage`.
void save_peft(const Model&, const std::filesystem::path& folder, const std::string& base_model,
               const std::string& dtype, const std::map<std::string, std::string>& metadata = {});

}  // namespace prentice
