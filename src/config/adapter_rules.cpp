#include "config/adapter_rules.h"

#include <fmt/format.h>

#include <algorithm>

#include "config/words.h"
#include "core/error.h"

namespace prentice {

bool starts_fresh(const AdapterSection& section) {
  return std::ranges::any_of(kAdapterInit, [&](const Choice& choice) { return choice.word == section.init; });
}

bool trains_rounded(const AdapterSection& section) { return section.qat != "none"; }

namespace {

// What has more than factors, or factors that are not those of a file.
void check_qat(const AdapterSection& section, std::vector<KeyMistake>& found) {
  if (!trains_rounded(section)) return;
  const auto refuse = [&](const char* key, const std::string& what, const char* hint) {
    found.push_back({.key = key, .message = fmt::format("{}, which {}", what, kNotWithQat), .hint = hint});
  };
  if (section.kind == AdapterKind::dora) refuse("adapter.kind", "dora has magnitudes", "adapter.kind=lora");
  if (section.init == "pissa") refuse("adapter.init", "pissa changes the base", "adapter.init=default");
  if (section.dropout > 0) refuse("adapter.dropout", "with dropout every step has other weights", "adapter.dropout=0");
  if (!section.modules_to_save.empty())
    refuse("adapter.modules_to_save", section.modules_to_save[0] + " trains whole", "remove the key");
}

}  // namespace

std::vector<KeyMistake> contradictions(const AdapterSection& section) {
  std::vector<KeyMistake> found;
  if (section.kind == AdapterKind::full) return found;
  check_qat(section, found);
  if (section.init == "pissa" && section.kind == AdapterKind::dora) {
    found.push_back({.key = "adapter.init",
                     .message = "pissa takes its start out of the weight, whose norms kind: dora needs",
                     .hint = "keep one of the two"});
  }
  const auto& targets = section.targets;
  if (targets.empty()) {
    found.push_back({.key = "adapter.targets",
                     .message = "expected at least one layer, got an empty list",
                     .hint = "all-linear adapts every layer"});
  }
  if (targets.size() > 1 && std::ranges::count(targets, "all-linear") > 0) {
    found.push_back({.key = "adapter.targets",
                     .word = "all-linear",
                     .message = "all-linear stands alone",
                     .hint = "remove the other names"});
  }
  for (const auto& word : section.modules_to_save) {
    if (!starts_fresh(section) || std::ranges::count(targets, word) == 0) continue;
    found.push_back({.key = "adapter.modules_to_save",
                     .word = word,
                     .message = word + " stands in adapter.targets too: a module has an adapter, or it trains whole",
                     .hint = "keep one of the two"});
  }
  return found;
}

std::vector<KeyMistake> gguf_adapter_mistakes(bool dora, const std::vector<std::string>& saved) {
  constexpr const char* kKey = "export.gguf_adapter";
  constexpr const char* kMerge = "export the merged model: export.gguf=[F16]";
  std::vector<KeyMistake> found;
  if (dora) {
    found.push_back({.key = kKey,
                     .message = "a GGUF adapter cannot carry the magnitudes of DoRA (adapter.kind: dora)",
                     .hint = kMerge});
  }
  if (!saved.empty()) {
    found.push_back({.key = kKey,
                     .message = fmt::format("a GGUF adapter cannot carry modules that are saved whole "
                                            "(adapter.modules_to_save: {})",
                                            saved[0]),
                     .hint = kMerge});
  }
  return found;
}

void throw_if_any(const std::vector<KeyMistake>& mistakes) {
  if (mistakes.empty()) return;
  std::vector<Diagnostic> diagnostics;
  for (const auto& mistake : mistakes) {
    diagnostics.push_back({.message = mistake.message, .hint = mistake.hint, .key = mistake.key});
  }
  throw Error(ExitCode::usage, std::move(diagnostics));
}

}  // namespace prentice
