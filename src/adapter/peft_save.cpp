#include <ATen/ops/cat.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "adapter/lora.h"
#include "adapter/peft.h"
#include "adapter/saved_modules.h"
#include "core/error.h"
#include "io/json.h"
#include "io/safetensors.h"

namespace prentice {

namespace {

namespace fs = std::filesystem;

// The release of peft whose format this is.
constexpr const char* kPeftVersion = "0.21.2";

std::string last_part(const std::string& module) { return module.substr(module.rfind('.') + 1); }

struct Adapted {
  std::string module;
  const Lora* lora = nullptr;
  OutgoingFactors out;
};

std::vector<Adapted> adapted_modules(const Model& model) {
  std::vector<Adapted> modules;
  visit_loras(model, [&](const std::string& module, const Lora& lora) {
    modules.push_back({module, &lora, outgoing_factors(lora)});
  });
  return modules;
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
Json deviations(const std::vector<Adapted>& adapted, const std::vector<T>& values, T usual) {
  std::map<std::string, std::set<T>> by_part;
  for (size_t i = 0; i < adapted.size(); ++i) by_part[last_part(adapted[i].module)].insert(values[i]);
  std::map<std::string, T> patterns;
  for (size_t i = 0; i < adapted.size(); ++i) {
    if (values[i] == usual) continue;
    const std::string part = last_part(adapted[i].module);
    patterns[by_part[part].size() == 1 ? part : adapted[i].module] = values[i];
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
TargetWords target_words(const Model& model, const std::vector<Adapted>& adapted) {
  std::set<std::string> names, parts;
  std::set<int64_t> layers;
  for (const auto& entry : adapted) {
    names.insert(entry.module), parts.insert(last_part(entry.module));
    if (const auto layer = layer_of(entry.module, {})) layers.insert(*layer);
  }
  for (const bool by_layer : {false, true}) {
    if (!model.spec.section.empty()) break;  // other parts of that model may have modules of the same names
    TargetRule rule = target_rule(std::vector<std::string>(parts.begin(), parts.end()));
    if (by_layer) rule.layers.assign(layers.begin(), layers.end());
    const bool exact = std::ranges::all_of(adaptable_names(model), [&](const std::string& name) {
      const bool is_target = rule.matches(name, false) && !is_saved_module(model.saved.words, name);
      return is_target == names.contains(name);
    });
    if (exact) return {rule.targets.names, rule.layers};
  }
  return {{names.begin(), names.end()}, {}};
}

Json list(const auto& values) {
  Json::Array array;
  for (const auto& value : values) array.emplace_back(value);
  return array;
}

bool holds_an_end(const Model& model) {
  return std::ranges::any_of(model.saved.base, [&](const auto& saved) {
    return saved.first == model.spec.names.embed + ".weight" || saved.first == model.head.name + ".weight";
  });
}

const std::map<std::string, std::pair<DType, c10::ScalarType>> kTypes = {
    {"f32", {DType::f32, at::kFloat}}, {"bf16", {DType::bf16, at::kBFloat16}}, {"f16", {DType::f16, at::kHalf}}};

}  // namespace

OutgoingFactors outgoing_factors(const Lora& lora) {
  if (!lora.first_a.defined()) return {lora.a, lora.b, lora.alpha};
  const c10::NoGradGuard no_grad;
  // The rank doubles and the scale stays.
  return {at::cat({lora.a, lora.first_a}, 0), at::cat({lora.b, lora.first_b.neg()}, 1),
          lora.alpha * (lora.rslora ? std::sqrt(2.0) : 2.0)};
}

std::string peft_config_json(const Model& model, const std::string& base_model) {
  const auto adapted = adapted_modules(model);
  if (adapted.empty()) fail(ExitCode::usage, "the model has no adapter to save");
  std::vector<int64_t> ranks;
  std::vector<double> alphas;
  bool dora = false;
  for (const auto& entry : adapted) {
    ranks.push_back(entry.out.a.size(0)), alphas.push_back(entry.out.alpha);
    dora |= entry.lora->magnitude.defined();
  }
  const TargetWords words = target_words(model, adapted);
  const Lora& first = *adapted[0].lora;
  const int64_t rank = most_common(ranks);
  const double alpha = most_common(alphas);
  Json::Object config = {
      {"alpha_pattern", deviations(adapted, alphas, alpha)},
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
      {"modules_to_save", model.saved.words.empty() ? Json() : list(model.saved.words)},
      {"peft_type", "LORA"},
      {"peft_version", kPeftVersion},
      {"r", rank},
      {"rank_pattern", deviations(adapted, ranks, rank)},
      {"revision", nullptr},
      {"target_modules", list(words.modules)},
      {"target_parameters", nullptr},
      {"task_type", model.spec.labels > 0 ? "SEQ_CLS" : "CAUSAL_LM"},
      {"trainable_token_indices", nullptr},
      {"use_dora", dora},
      {"use_rslora", first.rslora},
  };
  // Older releases of peft know neither the key nor what it says.
  if (!model.saved.words.empty() && model.spec.tied_head && holds_an_end(model)) {
    config.emplace_back("ensure_weight_tying", true);
  }
  return Json(config).dump(2) + "\n";
}

void save_peft(const Model& model, const fs::path& folder, const std::string& base_model, const std::string& dtype,
               const std::map<std::string, std::string>& metadata) {
  const auto type = kTypes.find(dtype);
  if (type == kTypes.end()) fail(ExitCode::usage, "adapter dtype: expected f32, bf16 or f16, got " + dtype);
  const std::string config = peft_config_json(model, base_model);
  NamedTensors tensors;
  for (const auto& [module, lora, out] : adapted_modules(model)) {
    const bool embedding = module == model.spec.names.embed;
    tensors.emplace_back(module + (embedding ? ".lora_embedding_A" : ".lora_A.weight"), out.a);
    tensors.emplace_back(module + (embedding ? ".lora_embedding_B" : ".lora_B.weight"), out.b);
    if (lora->magnitude.defined()) tensors.emplace_back(module + ".lora_magnitude_vector", lora->magnitude);
  }
  for (const auto& saved : saved_tensors(model)) tensors.push_back(saved);
  // One weight under two names, where peft looks for both.
  if (model.spec.tied_head && names_both_ends(model, model.saved.words)) {
    tensors.emplace_back(model.head.name + ".weight", model.embed);
  }
  std::vector<TensorInfo> infos;
  for (const auto& [name, tensor] : tensors) {
    infos.push_back({"base_model.model." + name, type->second.first, tensor.sizes().vec()});
  }
  SafetensorsWriter writer(folder / "adapter_model.safetensors", infos, metadata);
  for (const auto& [name, tensor] : tensors) {
    const Tensor host = tensor.detach().to(at::kCPU, type->second.second).contiguous();
    writer.write("base_model.model." + name, {static_cast<const std::byte*>(host.const_data_ptr()), host.nbytes()});
  }
  writer.finish();
  write_file_durably(folder / "adapter_config.json", config);
}

}  // namespace prentice
