#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "adapter/peft.h"
#include "core/error.h"
#include "io/file.h"
#include "io/json.h"

namespace prentice {

namespace {

namespace fs = std::filesystem;

constexpr int64_t kMaxRank = 65536;
constexpr const char* kScoreTask = "SEQ_CLS";

// Read below, or without any bearing on what a loaded adapter computes.
constexpr std::array kReadKeys = {"peft_type",      "task_type",         "r",
                                  "lora_alpha",     "lora_dropout",      "target_modules",
                                  "use_rslora",     "exclude_modules",   "bias",
                                  "rank_pattern",   "alpha_pattern",     "layers_to_transform",
                                  "layers_pattern", "init_lora_weights", "base_model_name_or_path",
                                  "use_dora",       "modules_to_save",   "ensure_weight_tying"};
constexpr std::array kIdleKeys = {"auto_mapping",   "peft_version",      "revision",     "inference_mode",
                                  "megatron_core",  "qalora_group_size", "eva_config",   "corda_config",
                                  "lora_ga_config", "runtime_config",    "unsloth_fixed"};

template <size_t N>
bool contains(const std::array<const char*, N>& words, const std::string& word) {
  return std::ranges::find(words, word) != words.end();
}

// null, false, "", [] and {}: how PEFT writes that a feature is off.
bool is_off(const Json& value) {
  if (value.is_null()) return true;
  if (value.is_bool()) return !value.as_bool();
  if (value.is_string()) return value.as_string().empty();
  if (value.is_array()) return value.as_array().empty();
  return value.is_object() && value.as_object().empty();
}

[[noreturn]] void refuse(const std::string& key, const Json& value, const std::string& hint = "") {
  fail(ExitCode::model, fmt::format("{}: {} is not in this version", key, value.dump().substr(0, 120)), hint);
}

std::vector<std::string> strings(const Json& list) {
  std::vector<std::string> words;
  for (const Json& word : list.as_array()) words.push_back(word.as_string());
  return words;
}

// A list of names, or one expression as a string.
void read_names(const Json& value, std::vector<std::string>& names, bool& is_expression) {
  is_expression = value.is_string();
  names = is_expression ? std::vector{value.as_string()} : strings(value);
}

int64_t read_rank(const Json& value) {
  const int64_t rank = value.as_integer();
  if (rank < 1 || rank > kMaxRank) {
    fail(ExitCode::malformed, fmt::format("expected a rank from 1 to {}, got {}", kMaxRank, rank));
  }
  return rank;
}

double read_alpha(const Json& value) {
  const double alpha = value.as_number();
  if (!std::isfinite(alpha) || alpha == 0)
    fail(ExitCode::malformed, fmt::format("expected a number other than 0, got {}", alpha));
  return alpha;
}

template <class Read>
auto read_patterns(const Json& value, const Read& read) {
  EndPatterns<decltype(read(value))> patterns;
  for (const auto& [key, entry] : value.as_object()) {
    end_pattern(key);
    patterns.emplace_back(key, with_context(ExitCode::malformed, "'" + key + "'", [&] { return read(entry); }));
  }
  return patterns;
}

void read_layers(const Json& value, std::vector<int64_t>& layers) {
  if (value.is_array()) {
    for (const Json& layer : value.as_array()) layers.push_back(layer.as_integer());
  } else {
    layers.push_back(value.as_integer());
  }
}

void read_layer_prefixes(const Json& value, std::vector<std::string>& prefixes) {
  prefixes = value.is_string() ? std::vector{value.as_string()} : strings(value);
  std::erase(prefixes, "");  // as PEFT: any
  for (const auto& prefix : prefixes) {
    if (looks_like_pattern(prefix)) fail(ExitCode::malformed, "'" + prefix + "': only plain names are in this version");
  }
}

// Initialisations that change the base weights leave an adapter that is nothing without them.
void check_init(const Json& value) {
  constexpr std::array kBaseStays = {"gaussian", "eva", "orthogonal"};
  if (value.is_bool() || (value.is_string() && contains(kBaseStays, value.as_string()))) return;
  refuse("init_lora_weights", value,
         "in peft: save_pretrained(DIR, path_initial_model_for_weight_conversion=...) makes a plain adapter");
}

void check_kind(const Json& json) {
  const Json& type = json.at("peft_type");
  if (!type.is_string() || type.as_string() != "LORA") refuse("peft_type", type);
  if (const Json* task = json.find("task_type"); task && !is_off(*task)) {
    if (!task->is_string() || (task->as_string() != "CAUSAL_LM" && task->as_string() != kScoreTask)) {
      refuse("task_type", *task);
    }
  }
  if (const Json* bias = json.find("bias"); bias && (!bias->is_string() || bias->as_string() != "none")) {
    refuse("bias", *bias);
  }
  if (const Json* init = json.find("init_lora_weights")) check_init(*init);
  for (const auto& [key, value] : json.as_object()) {
    if (contains(kReadKeys, key) || contains(kIdleKeys, key) || is_off(value)) continue;
    refuse(key, value);
  }
}

// PEFT saves what it finds of `classifier` and `score` whole, whether they are listed or not; here it is `score`.
void read_score_task(PeftConfig& config) {
  config.scores = true;
  std::erase(config.modules_to_save, std::string("classifier"));
  const std::string head = "score";
  if (std::ranges::count(config.modules_to_save, head) == 0) config.modules_to_save.push_back(head);
}

PeftConfig read(const Json& json) {
  check_kind(json);
  PeftConfig config;
  // Calls `reader(value)` when the key is there and not null; its errors name the key.
  const auto key = [&](const char* name, const auto& reader) {
    const Json* value = json.find(name);
    if (value && !value->is_null()) with_context(ExitCode::malformed, name, [&] { reader(*value); });
  };
  key("r", [&](const Json& v) { config.rank = read_rank(v); });
  key("lora_alpha", [&](const Json& v) { config.alpha = read_alpha(v); });
  key("lora_dropout", [&](const Json& v) {
    config.dropout = v.as_number();
    if (!(config.dropout >= 0 && config.dropout < 1)) {
      fail(ExitCode::malformed, fmt::format("expected 0 or more and below 1, got {}", config.dropout));
    }
  });
  key("use_rslora", [&](const Json& v) { config.rslora = v.as_bool(); });
  key("use_dora", [&](const Json& v) { config.dora = v.as_bool(); });
  key("modules_to_save", [&](const Json& v) { config.modules_to_save = strings(v); });
  key("ensure_weight_tying", [&](const Json& v) { config.ensure_tying = v.as_bool(); });
  key("target_modules", [&](const Json& v) {
    read_names(v, config.targets, config.targets_are_expression);
    if (config.targets_are_expression) target_rule(config.targets[0]);
  });
  key("exclude_modules", [&](const Json& v) {
    read_names(v, config.excluded, config.excluded_are_expression);
    if (config.excluded_are_expression) Pattern(config.excluded[0]);
  });
  key("layers_to_transform", [&](const Json& v) { read_layers(v, config.layers); });
  key("layers_pattern", [&](const Json& v) { read_layer_prefixes(v, config.layer_prefixes); });
  key("rank_pattern", [&](const Json& v) { config.rank_pattern = read_patterns(v, read_rank); });
  key("alpha_pattern", [&](const Json& v) { config.alpha_pattern = read_patterns(v, read_alpha); });
  key("base_model_name_or_path", [&](const Json& v) { config.base_model = v.as_string(); });
  const Json* task = json.find("task_type");
  if (task && task->is_string() && task->as_string() == kScoreTask) read_score_task(config);
  if (config.targets.empty()) fail(ExitCode::malformed, "target_modules: expected names or an expression, got none");
  return config;
}

}  // namespace

PeftConfig read_peft_config(const fs::path& folder) {
  const fs::path path = folder / "adapter_config.json";
  std::error_code error;
  if (!fs::is_directory(folder, error)) fail(ExitCode::usage, folder.string() + ": no such adapter folder");
  if (!fs::exists(path, error)) fail(ExitCode::model, folder.string() + ": has no adapter_config.json");
  const Json json =
      with_context(ExitCode::model, path.string(), [&] { return Json::parse(read_text_file(path, 16 << 20)); });
  return with_context(ExitCode::model, path.string(), [&] {
    if (!json.is_object()) fail(ExitCode::malformed, fmt::format("expected an object, got {}", json.kind()));
    return read(json);
  });
}

TargetRule target_rule(const PeftConfig& config) {
  TargetRule rule = config.targets_are_expression ? target_rule(config.targets[0]) : target_rule(config.targets);
  if (config.excluded_are_expression) {
    rule.excluded.pattern.emplace(config.excluded[0]);
  } else {
    rule.excluded.names = config.excluded;
  }
  rule.layers = config.layers;
  rule.layer_prefixes = config.layer_prefixes;
  return rule;
}

}  // namespace prentice
