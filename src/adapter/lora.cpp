#include "adapter/lora.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>

#include "adapter/init.h"
#include "adapter/peft.h"
#include "adapter/pissa.h"
#include "adapter/saved_modules.h"
#include "adapter/targets.h"
#include "core/error.h"
#include "core/wide_type.h"
#include "nn/dora.h"

namespace prentice {

namespace {

// One word with a character that no module name holds is an expression; everything else is a list of names.
TargetRule rule_of(const AdapterSection& section) {
  const auto& words = section.targets;
  if (words.empty()) fail(ExitCode::usage, "adapter.targets: the list is empty", "all-linear adapts every layer");
  TargetRule rule = with_context(ExitCode::usage, "adapter.targets", [&] {
    return words.size() == 1 && looks_like_pattern(words[0]) ? target_rule(words[0]) : target_rule(words);
  });
  rule.layers = section.layers;
  return rule;
}

void refuse_combinations(const AdapterSection& section) {
  if (section.qat != "none") fail(ExitCode::usage, "adapter.qat: " + section.qat + " is not in this version");
  if (section.kind == AdapterKind::dora && section.init == "pissa") {
    fail(ExitCode::usage, "adapter.init: pissa takes its start out of the weight, whose norms kind: dora needs",
         "keep one of the two");
  }
}

// Every word, layer and pattern of the section must do something.
void require_effect(const AdapterSection& section, const std::vector<std::string>& modules,
                    const std::vector<std::string>& chosen, int64_t layers) {
  for (const int64_t layer : section.layers) {
    if (layer < 0 || layer >= layers) {
      fail(ExitCode::usage, fmt::format("adapter.layers: the model has layers 0 to {}, got {}", layers - 1, layer));
    }
  }
  const auto parts = last_parts(modules);
  const auto nothing = [&](const std::string& key, const std::string& word) {
    const std::string near = closest_match(word, parts);
    fail(ExitCode::usage, fmt::format("{}: '{}' matches no layer of this model", key, word),
         near.empty() || near == word ? fmt::format("adapters sit on {}", fmt::join(parts, ", "))
                                      : fmt::format("did you mean {}?", near));
  };
  const auto some = [](const std::vector<std::string>& names, const auto& rule) {
    return std::ranges::any_of(names, rule);
  };
  if (chosen.empty()) nothing("adapter.targets", fmt::format("{}", fmt::join(section.targets, ", ")));
  if (section.targets.size() > 1) {
    for (const auto& word : section.targets) {
      const NameRule rule{.names = {word}};
      if (!some(modules, [&](const auto& name) { return rule.matches(name); })) nothing("adapter.targets", word);
    }
  }
  const auto check_patterns = [&](const char* key, const auto& patterns) {
    for (const auto& [word, value] : patterns) {
      const Pattern pattern = with_context(ExitCode::usage, key, [&] { return end_pattern(word); });
      if (!some(chosen, [&](const auto& name) { return pattern.matches(name); })) nothing(key, word);
    }
  };
  check_patterns("adapter.rank_pattern", section.rank_pattern);
  check_patterns("adapter.alpha_pattern", section.alpha_pattern);
}

template <class T>
EndPatterns<T> in_order(const std::map<std::string, T>& patterns) {
  return {patterns.begin(), patterns.end()};
}

struct Size {
  int64_t rank = 0;
  double alpha = 0;
};

Lora empty_lora(const Size& size, const AdapterSection& section) {
  Lora lora{.scale = lora_scale(size.alpha, size.rank, section.rslora), .alpha = size.alpha, .rslora = section.rslora};
  lora.dropout = section.dropout;
  return lora;
}

at::TensorOptions trained_options(const Tensor& weight) {
  const auto type = wide_type(weight);
  return weight.options().dtype(type).requires_grad(false);
}

void attach_fresh(Linear& linear, int64_t module, const Size& size, const AdapterSection& section, uint64_t seed) {
  Lora& lora = linear.lora.emplace(empty_lora(size, section));
  const auto options = trained_options(dense_weight(linear));
  const std::string name = linear.name + ".lora_A.weight";
  lora.module = module;
  if (section.init == "pissa") return start_from_principal_part(linear, size.rank, seed);
  lora.a = (section.init == "gaussian"
                ? normal_matrix(size.rank, linear.in_features, 1.0 / static_cast<double>(size.rank), seed, name)
                : uniform_matrix(size.rank, linear.in_features, 1 / std::sqrt(static_cast<double>(linear.in_features)),
                                 seed, name))
               .to(options);
  lora.b = at::zeros({linear.out_features, size.rank}, options);
  if (section.kind != AdapterKind::dora) return;
  lora.row_squares = row_squares(dense_weight(linear));
  lora.magnitude = lora.row_squares.sqrt();
}

void attach_to_embedding(Model& model, const Size& size, const AdapterSection& section, uint64_t seed) {
  const std::string& name = model.spec.names.embed;
  if (section.kind == AdapterKind::dora || section.init == "pissa") {
    fail(ExitCode::usage,
         fmt::format("adapter.targets: {} has no {} in this version", name, section.init == "pissa" ? "PiSSA" : "DoRA"),
         "leave it out, or train it whole: adapter.modules_to_save=[" + last_parts({name})[0] + "]");
  }
  Lora& lora = model.embed_lora.emplace(empty_lora(size, section));
  const auto options = trained_options(model.embed);
  lora.a = at::zeros({size.rank, model.spec.vocab}, options);
  lora.b = normal_matrix(model.spec.hidden, size.rank, 1, seed, name + ".lora_embedding_B").to(options);
}

// The modules that the section names, in the order of adaptable_names.
std::vector<std::string> chosen_modules(const Model& model, const AdapterSection& section) {
  const TargetRule rule = rule_of(section);
  std::vector<std::string> chosen;
  const auto modules = adaptable_names(model);
  for (const auto& name : modules) {
    const bool is_end = name == model.head.name || name == model.spec.names.embed;
    const bool takes = with_context(ExitCode::usage, "adapter.targets", [&] { return rule.matches(name, is_end); });
    if (takes && !is_saved_module(section.modules_to_save, name)) chosen.push_back(name);
  }
  require_effect(section, modules, chosen, model.spec.layers);
  if (section.init == "pissa" && model.spec.tied_head && std::ranges::count(chosen, model.head.name) > 0) {
    fail(ExitCode::usage,
         "adapter.init: pissa changes the weight, and that of " + model.head.name + " is the embedding's",
         "leave " + model.head.name + " out of adapter.targets");
  }
  return chosen;
}

// The head's loss reads its rows in chunks, where a dropped input has one use only (objective/head.h).
void require_trainable_head(const Model& model) {
  const auto& lora = model.head.lora;
  if (!lora || !lora->magnitude.defined() || lora->dropout == 0) return;
  fail(ExitCode::usage, "adapter.dropout: not in this version on the head with kind: dora",
       "leave " + model.head.name + " out of adapter.targets, or set adapter.dropout=0");
}

void go_on_from(Model& model, const AdapterSection& section) {
  load_peft(model, section.init);
  visit_loras(model, [&](const std::string&, Lora& lora) { lora.dropout = section.dropout; });
  require_trainable_head(model);
}

}  // namespace

bool starts_fresh(const AdapterSection& section) {
  return section.init == "default" || section.init == "gaussian" || section.init == "pissa";
}

double lora_scale(double alpha, int64_t rank, bool rslora) {
  const double r = static_cast<double>(rank);
  return alpha / (rslora ? std::sqrt(r) : r);
}

void visit_loras(Model& model, const std::function<void(const std::string&, Lora&)>& f) {
  if (model.embed_lora) f(model.spec.names.embed, *model.embed_lora);
  visit_linears(model, [&](Linear& linear) {
    if (linear.lora) f(linear.name, *linear.lora);
  });
}

void visit_loras(const Model& model, const std::function<void(const std::string&, const Lora&)>& f) {
  if (model.embed_lora) f(model.spec.names.embed, *model.embed_lora);
  visit_linears(model, [&](const Linear& linear) {
    if (linear.lora) f(linear.name, *linear.lora);
  });
}

bool has_adapter(const Model& model) {
  bool found = !model.saved.base.empty();
  visit_loras(model, [&](const std::string&, const Lora&) { found = true; });
  return found;
}

void attach_lora(Model& model, const AdapterSection& section, uint64_t seed) {
  refuse_combinations(section);
  if (has_adapter(model)) {
    fail(ExitCode::usage, "the model has an adapter already", "merge it first, or go on from it with adapter.init");
  }
  if (!starts_fresh(section)) return go_on_from(model, section);
  if (section.rank < 1) fail(ExitCode::usage, fmt::format("adapter.rank: expected 1 or more, got {}", section.rank));
  const auto chosen = chosen_modules(model, section);
  const double alpha = section.alpha.value_or(section.rslora ? 8 : 32);
  const auto ranks = in_order(section.rank_pattern);
  const auto alphas = in_order(section.alpha_pattern);
  const auto takes = [&](const std::string& name) { return std::ranges::find(chosen, name) != chosen.end(); };
  const auto size = [&](const std::string& name) {
    return Size{value_for(name, ranks, section.rank), value_for(name, alphas, alpha)};
  };
  const std::string& embed = model.spec.names.embed;
  if (takes(embed)) attach_to_embedding(model, size(embed), section, seed);
  int64_t module = 0;
  visit_linears(model, [&](Linear& linear) {
    const int64_t index = module++;
    if (takes(linear.name)) attach_fresh(linear, index, size(linear.name), section, seed);
  });
  require_trainable_head(model);
  save_modules(model, section.modules_to_save, names_both_ends(model, section.modules_to_save));
}

AdapterOff::AdapterOff(Model& model) : model_(model), was_swapped_(!model.saved.enabled) {
  visit_loras(model, [&](const std::string&, Lora& lora) {
    was_enabled_.push_back(lora.enabled);
    lora.enabled = false;
  });
  if (!was_swapped_) swap_saved(model);
}

AdapterOff::~AdapterOff() {
  size_t i = 0;
  visit_loras(model_, [&](const std::string&, Lora& lora) { lora.enabled = was_enabled_[i++]; });
  if (!was_swapped_) swap_saved(model_);
}

}  // namespace prentice
