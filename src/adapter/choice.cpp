#include "adapter/choice.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>

#include "adapter/saved_modules.h"
#include "adapter/targets.h"
#include "core/error.h"

namespace prentice {

namespace {

// One word with a character that no module name holds is an expression; everything else is a list of names.
TargetRule rule_of(const AdapterSection& section) {
  const auto& words = section.targets;
  TargetRule rule = with_context(ExitCode::usage, "adapter.targets", [&] {
    return words.size() == 1 && looks_like_pattern(words[0]) ? target_rule(words[0]) : target_rule(words);
  });
  rule.layers = section.layers;
  return rule;
}

// Finds every word, layer and pattern of the section that does nothing.
class Effects {
 public:
  Effects(const Model& model, const AdapterSection& section)
      : model_(model), section_(section), modules_(adaptable_names(model)), chosen_(chosen_modules(model, section)) {}

  std::vector<KeyMistake> take() {
    check_targets();
    check_layers();
    check_patterns("adapter.rank_pattern", section_.rank_pattern);
    check_patterns("adapter.alpha_pattern", section_.alpha_pattern);
    if (chosen_.empty() && found_.empty()) {
      matches_nothing("adapter.targets", fmt::format("{}", fmt::join(section_.targets, ", ")), "");
    }
    return std::move(found_);
  }

 private:
  void matches_nothing(const std::string& key, const std::string& shown, const std::string& word) {
    const auto parts = last_parts(modules_);
    const std::string near = closest_match(shown, parts);
    found_.push_back({.key = key,
                      .word = word,
                      .message = fmt::format("'{}' matches no layer of this model", shown),
                      .hint = near.empty() || near == shown ? fmt::format("adapters sit on {}", fmt::join(parts, ", "))
                                                            : fmt::format("did you mean {}?", near)});
  }

  void check_targets() {
    const auto& words = section_.targets;
    if (words.size() == 1 && (words[0] == "all-linear" || looks_like_pattern(words[0]))) return;
    for (const auto& word : words) {
      const NameRule rule{.names = {word}};
      bool any = false, all_saved = true;
      for (const auto& module : modules_) {
        if (!rule.matches(module)) continue;
        any = true;
        all_saved = all_saved && is_saved_module(section_.modules_to_save, module);
      }
      if (!any) {
        matches_nothing("adapter.targets", word, word);
      } else if (all_saved) {
        found_.push_back(
            {.key = "adapter.targets",
             .word = word,
             .message = fmt::format("'{}' trains whole by adapter.modules_to_save, and so has no adapter", word),
             .hint = "keep one of the two"});
      }
    }
  }

  void check_layers() {
    for (const int64_t layer : section_.layers) {
      if (layer >= 0 && layer < model_.spec.layers) continue;
      found_.push_back({.key = "adapter.layers",
                        .word = std::to_string(layer),
                        .message = fmt::format("the model has layers 0 to {}, got {}", model_.spec.layers - 1, layer),
                        .hint = ""});
    }
  }

  template <class T>
  void check_patterns(const std::string& key, const std::map<std::string, T>& patterns) {
    for (const auto& [word, value] : patterns) {
      const Pattern pattern = with_context(ExitCode::usage, key, [&, &word = word] { return end_pattern(word); });
      // With nothing chosen no pattern can be held against it.
      const auto& among = chosen_.empty() ? modules_ : chosen_;
      if (std::ranges::none_of(among, [&](const auto& name) { return pattern.matches(name); })) {
        matches_nothing(key, word, word);
      }
    }
  }

  const Model& model_;
  const AdapterSection& section_;
  std::vector<std::string> modules_, chosen_;
  std::vector<KeyMistake> found_;
};

// PiSSA trains the largest singular parts: there must be as many.
void check_singular_values(const Model& model, const AdapterSection& section, const std::vector<std::string>& chosen,
                           std::vector<KeyMistake>& found) {
  const EndPatterns<int64_t> ranks(section.rank_pattern.begin(), section.rank_pattern.end());
  bool told = false;
  visit_linears(model, [&](const Linear& linear) {
    const int64_t most = std::min(linear.in_features, linear.out_features);
    if (told || std::ranges::count(chosen, linear.name) == 0) return;
    const int64_t rank = value_for(linear.name, ranks, section.rank);
    if (rank <= most) return;
    told = true;
    found.push_back({.key = "adapter.rank",
                     .word = "",
                     .message = fmt::format("{} has {} singular values, PiSSA wants {}", linear.name, most, rank),
                     .hint = "a smaller rank, or adapter.rank_pattern for this layer"});
  });
}

// PiSSA takes its start out of the weights as the files have them.
void check_unrounded(const Model& model, const std::vector<std::string>& chosen, std::vector<KeyMistake>& found) {
  bool told = false;
  visit_linears(model, [&](const Linear& linear) {
    if (told || !is_quantized(linear) || std::ranges::count(chosen, linear.name) == 0) return;
    told = true;
    found.push_back(
        {.key = "adapter.init",
         .word = "",
         .message = fmt::format("pissa takes its start out of the weights, and {} is held {}", linear.name,
                                model.spec.blocks.empty() ? "in four bits" : "in the blocks of its GGUF file"),
         .hint = model.spec.blocks.empty() ? "another adapter.init, or model.quantize=none" : "another adapter.init"});
  });
}

// What the embedding and the head cannot have.
void check_ends(const Model& model, const AdapterSection& section, const std::vector<std::string>& chosen,
                std::vector<KeyMistake>& found) {
  const bool pissa = section.init == "pissa", dora = section.kind == AdapterKind::dora;
  const std::string &embed = model.spec.names.embed, &head = model.head.name;
  const auto takes = [&](const std::string& name) { return std::ranges::count(chosen, name) > 0; };
  if (takes(embed) && (pissa || dora)) {
    found.push_back(
        {.key = "adapter.targets",
         .word = last_parts({embed})[0],
         .message = fmt::format("{} has no {} in this version", embed, pissa ? "PiSSA" : "DoRA"),
         .hint = "leave it out, or train it whole: adapter.modules_to_save=[" + last_parts({embed})[0] + "]"});
  }
  if (takes(head) && pissa && model.spec.tied_head) {
    found.push_back({.key = "adapter.init",
                     .word = "",
                     .message = fmt::format("pissa changes the weight, and that of {} is the embedding's", head),
                     .hint = fmt::format("leave {} out of adapter.targets", head)});
  }
  if (takes(head) && dora && section.dropout > 0) found.push_back(dropout_on_head(head));
  for (const auto& end : {embed, head}) {
    if (!trains_rounded(section) || !takes(end)) continue;
    found.push_back({.key = "adapter.targets",
                     .word = last_parts({end})[0],
                     .message = fmt::format("{} has an adapter, which {}", end, kNotWithQat),
                     .hint = "leave it out: it is rounded as the file has it"});
  }
}

}  // namespace

KeyMistake dropout_on_head(const std::string& head) {
  return {.key = "adapter.dropout",
          .word = "",
          .message = "not in this version on the head with kind: dora",
          .hint = fmt::format("leave {} out of adapter.targets, or set adapter.dropout=0", head)};
}

std::vector<std::string> chosen_modules(const Model& model, const AdapterSection& section) {
  const TargetRule rule = rule_of(section);
  std::vector<std::string> chosen;
  for (const auto& name : adaptable_names(model)) {
    const bool is_end = name == model.head.name || name == model.spec.names.embed;
    const bool takes = with_context(ExitCode::usage, "adapter.targets", [&] { return rule.matches(name, is_end); });
    if (takes && !is_saved_module(section.modules_to_save, name)) chosen.push_back(name);
  }
  return chosen;
}

std::vector<KeyMistake> adapter_mistakes(const Model& model, const AdapterSection& section) {
  std::vector<KeyMistake> found = contradictions(section);
  if (!found.empty()) return found;
  found = Effects(model, section).take();
  const auto chosen = chosen_modules(model, section);
  check_ends(model, section, chosen, found);
  if (section.init == "pissa") {
    check_singular_values(model, section, chosen, found);
    check_unrounded(model, chosen, found);
  }
  for (auto& mistake : saved_mistakes(model, section.modules_to_save)) found.push_back(std::move(mistake));
  return found;
}

}  // namespace prentice
