#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "adapter/peft.h"
#include "core/error.h"
#include "io/json.h"
#include "io/safetensors.h"

namespace prentice {

namespace {

namespace fs = std::filesystem;

// The release of peft whose format this is.
constexpr const char* kPeftVersion = "0.21.2";

std::string last_part(const std::string& module) { return module.substr(module.rfind('.') + 1); }

std::vector<const Linear*> adapted_linears(const Model& model) {
  std::vector<const Linear*> linears;
  visit_linears(model, [&](const Linear& linear) {
    if (linear.lora) linears.push_back(&linear);
  });
  return linears;
}

template <class T>
T most_common(const std::vector<T>& values) {
  std::map<T, size_t> counts;
  for (const T& value : values) ++counts[value];
  return std::ranges::max_element(counts, {}, [](const auto& entry) { return entry.second; })->first;
}

Json number(double value) {
  const auto whole = static_cast<int64_t>(value);
  return static_cast<double>(whole) == value ? Json(whole) : Json(value);
}
Json number(int64_t value) { return Json(value); }

// What differs from `usual`: by the last part of the name where all modules that share it agree, else by whole name.
template <class T>
Json deviations(const std::vector<const Linear*>& linears, const std::vector<T>& values, T usual) {
  std::map<std::string, std::set<T>> by_part;
  for (size_t i = 0; i < linears.size(); ++i) by_part[last_part(linears[i]->name)].insert(values[i]);
  std::map<std::string, T> patterns;
  for (size_t i = 0; i < linears.size(); ++i) {
    if (values[i] == usual) continue;
    const std::string part = last_part(linears[i]->name);
    patterns[by_part[part].size() == 1 ? part : linears[i]->name] = values[i];
  }
  Json::Object object;
  for (const auto& [name, value] : patterns) object.emplace_back(name, number(value));
  return object;
}

struct TargetWords {
  std::vector<std::string> modules;
  std::vector<int64_t> layers;  // empty = all
};

// Last parts when they name exactly the adapted modules, with a list of layers if need be; else whole names.
TargetWords target_words(const Model& model, const std::vector<const Linear*>& linears) {
  std::set<std::string> adapted, parts;
  std::set<int64_t> layers;
  for (const Linear* linear : linears) {
    adapted.insert(linear->name), parts.insert(last_part(linear->name));
    if (const auto layer = layer_of(linear->name, {})) layers.insert(*layer);
  }
  for (const bool by_layer : {false, true}) {
    TargetRule rule = target_rule(std::vector<std::string>(parts.begin(), parts.end()));
    if (by_layer) rule.layers.assign(layers.begin(), layers.end());
    const bool exact = std::ranges::all_of(linear_names(model), [&](const std::string& name) {
      return rule.matches(name, false) == adapted.contains(name);
    });
    if (exact) return {rule.targets.names, rule.layers};
  }
  return {{adapted.begin(), adapted.end()}, {}};
}

Json list(const auto& values) {
  Json::Array array;
  for (const auto& value : values) array.emplace_back(value);
  return array;
}

const std::map<std::string, std::pair<DType, c10::ScalarType>> kTypes = {
    {"f32", {DType::f32, at::kFloat}}, {"bf16", {DType::bf16, at::kBFloat16}}, {"f16", {DType::f16, at::kHalf}}};

}  // namespace

std::string peft_config_json(const Model& model, const std::string& base_model) {
  const auto linears = adapted_linears(model);
  if (linears.empty()) fail(ExitCode::usage, "the model has no adapter to save");
  std::vector<int64_t> ranks;
  std::vector<double> alphas;
  for (const Linear* linear : linears) ranks.push_back(linear->lora->a.size(0)), alphas.push_back(linear->lora->alpha);
  const TargetWords words = target_words(model, linears);
  const Lora& first = *linears[0]->lora;
  const int64_t rank = most_common(ranks);
  const double alpha = most_common(alphas);
  const Json::Object config = {
      {"alpha_pattern", deviations(linears, alphas, alpha)},
      {"auto_mapping", nullptr},
      {"base_model_name_or_path", base_model},
      {"bias", "none"},
      {"exclude_modules", nullptr},
      {"fan_in_fan_out", false},
      {"inference_mode", true},
      {"init_lora_weights", true},
      {"layer_replication", nullptr},
      {"layers_pattern", nullptr},
      {"layers_to_transform", words.layers.empty() ? Json() : list(words.layers)},
      {"loftq_config", Json::Object{}},
      {"lora_alpha", number(alpha)},
      {"lora_bias", false},
      {"lora_dropout", number(first.dropout)},
      {"megatron_config", nullptr},
      {"modules_to_save", nullptr},
      {"peft_type", "LORA"},
      {"peft_version", kPeftVersion},
      {"r", rank},
      {"rank_pattern", deviations(linears, ranks, rank)},
      {"revision", nullptr},
      {"target_modules", list(words.modules)},
      {"target_parameters", nullptr},
      {"task_type", "CAUSAL_LM"},
      {"trainable_token_indices", nullptr},
      {"use_dora", false},
      {"use_rslora", first.rslora},
  };
  return Json(config).dump(2) + "\n";
}

void save_peft(const Model& model, const fs::path& folder, const std::string& base_model, const std::string& dtype) {
  const auto type = kTypes.find(dtype);
  if (type == kTypes.end()) fail(ExitCode::usage, "adapter dtype: expected f32, bf16 or f16, got " + dtype);
  const std::string config = peft_config_json(model, base_model);
  const auto linears = adapted_linears(model);
  const auto name = [](const Linear& linear, const char* part) { return "base_model.model." + linear.name + part; };
  std::vector<TensorInfo> infos;
  for (const Linear* linear : linears) {
    infos.push_back({name(*linear, ".lora_A.weight"), type->second.first, linear->lora->a.sizes().vec()});
    infos.push_back({name(*linear, ".lora_B.weight"), type->second.first, linear->lora->b.sizes().vec()});
  }
  SafetensorsWriter writer(folder / "adapter_model.safetensors", infos);
  const auto write = [&](const std::string& key, const Tensor& tensor) {
    const Tensor host = tensor.detach().to(at::kCPU, type->second.second).contiguous();
    writer.write(key, {static_cast<const std::byte*>(host.const_data_ptr()), host.nbytes()});
  };
  for (const Linear* linear : linears) {
    write(name(*linear, ".lora_A.weight"), linear->lora->a);
    write(name(*linear, ".lora_B.weight"), linear->lora->b);
  }
  writer.finish();
  write_file_durably(folder / "adapter_config.json", config);
}

}  // namespace prentice
