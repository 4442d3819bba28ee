#include "adapter/lora.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>

#include "adapter/init.h"
#include "adapter/peft.h"
#include "adapter/targets.h"
#include "core/error.h"

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

void refuse_unsupported(const AdapterSection& section) {
  const auto refuse = [](const std::string& what) { fail(ExitCode::usage, what + " is not in this version"); };
  if (section.kind == AdapterKind::dora) refuse("adapter.kind: dora");
  if (!section.modules_to_save.empty()) refuse("adapter.modules_to_save");
  if (section.init == "pissa") refuse("adapter.init: pissa");
  if (section.qat != "none") refuse("adapter.qat: " + section.qat);
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
    fail(ExitCode::usage, fmt::format("{}: '{}' matches no linear layer of this model", key, word),
         near.empty() || near == word ? fmt::format("its linear layers end with {}", fmt::join(parts, ", "))
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

Lora fresh_lora(const Linear& linear, int64_t rank, double alpha, const AdapterSection& section, uint64_t seed) {
  const Tensor& weight = dense_weight(linear);
  const auto type = weight.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const auto options = weight.options().dtype(type).requires_grad(false);
  Lora lora{.scale = lora_scale(alpha, rank, section.rslora), .alpha = alpha, .rslora = section.rslora};
  const std::string name = linear.name + ".lora_A.weight";
  lora.a =
      (section.init == "gaussian" ? normal_matrix(rank, linear.in_features, 1.0 / static_cast<double>(rank), seed, name)
                                  : uniform_matrix(rank, linear.in_features,
                                                   1 / std::sqrt(static_cast<double>(linear.in_features)), seed, name))
          .to(options);
  lora.b = at::zeros({linear.out_features, rank}, options);
  lora.dropout = section.dropout;
  return lora;
}

}  // namespace

double lora_scale(double alpha, int64_t rank, bool rslora) {
  const double r = static_cast<double>(rank);
  return alpha / (rslora ? std::sqrt(r) : r);
}

bool has_adapter(const Model& model) {
  bool found = false;
  visit_linears(model, [&](const Linear& linear) { found |= linear.lora.has_value(); });
  return found;
}

void attach_lora(Model& model, const AdapterSection& section, uint64_t seed) {
  refuse_unsupported(section);
  if (has_adapter(model)) {
    fail(ExitCode::usage, "the model has an adapter already", "merge it first, or go on from it with adapter.init");
  }
  if (section.init != "default" && section.init != "gaussian") {
    load_peft(model, section.init);
    visit_linears(model, [&](Linear& linear) {
      if (linear.lora) linear.lora->dropout = section.dropout;
    });
    return;
  }
  if (section.rank < 1) fail(ExitCode::usage, fmt::format("adapter.rank: expected 1 or more, got {}", section.rank));
  const TargetRule rule = rule_of(section);
  const auto modules = linear_names(model);
  std::vector<std::string> chosen;
  for (const auto& name : modules) {
    const bool takes =
        with_context(ExitCode::usage, "adapter.targets", [&] { return rule.matches(name, name == model.head.name); });
    if (takes) chosen.push_back(name);
  }
  require_effect(section, modules, chosen, model.spec.layers);
  const double alpha = section.alpha.value_or(section.rslora ? 8 : 32);
  const auto ranks = in_order(section.rank_pattern);
  const auto alphas = in_order(section.alpha_pattern);
  int64_t module = 0;
  visit_linears(model, [&](Linear& linear) {
    const int64_t index = module++;
    if (std::ranges::find(chosen, linear.name) == chosen.end()) return;
    linear.lora = fresh_lora(linear, value_for(linear.name, ranks, section.rank), value_for(linear.name, alphas, alpha),
                             section, seed);
    linear.lora->module = index;
  });
}

AdapterOff::AdapterOff(Model& model) : model_(model) {
  visit_linears(model, [&](Linear& linear) {
    was_enabled_.push_back(linear.lora && linear.lora->enabled);
    if (linear.lora) linear.lora->enabled = false;
  });
}

AdapterOff::~AdapterOff() {
  size_t i = 0;
  visit_linears(model_, [&](Linear& linear) {
    const bool enabled = was_enabled_[i++];
    if (linear.lora) linear.lora->enabled = enabled;
  });
}

}  // namespace prentice
