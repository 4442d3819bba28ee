#include "config/preference_rules.h"

#include <fmt/format.h>

#include <algorithm>

#include "config/words.h"

namespace prentice {

std::string words_for_loss(std::string_view word) {
  const auto is_word = [&](const auto& loss) { return loss.word == word; };
  const bool known = std::ranges::any_of(Words<PreferenceLoss>::table, is_word) && !find_alias(word);
  return known ? fmt::format("{} preference.loss={}", DpoRecipe::kKind, word) : "";
}

bool needs_reference(PreferenceLoss loss) {
  return loss != PreferenceLoss::orpo && loss != PreferenceLoss::simpo && loss != PreferenceLoss::cpo;
}

bool compares_with_start(const PreferenceSection& section) { return section.reference == "start"; }

bool keeps_log_probs(const PreferenceSection& section) { return section.reference == "precomputed"; }

bool names_a_model(const PreferenceSection& section) {
  return !compares_with_start(section) && !keeps_log_probs(section);
}

void check_pairs(Checker& c, const DataSection& data, bool labels) {
  if (data.overlong == Overlong::truncate) {
    c.mistake("data.overlong", "truncate would compare answers that are not whole", "use error or drop");
  }
  if (data.overlong == Overlong::split) {
    c.mistake("data.overlong", "split is for texts; these rows are answers", "use error or drop");
  }
  const bool reads = data.format == DataFormat::automatic || data.format == DataFormat::preference ||
                     (data.format == DataFormat::labels && labels);
  if (reads) return;
  c.mistake("data.format", fmt::format("{} rows do not say which of two answers is better", word_of(data.format)),
            data.format == DataFormat::labels ? "`recipe: kto` learns from labels" : "use preference");
}

void check_preference(Checker& c, const DpoRecipe& recipe) {
  using enum PreferenceLoss;
  const PreferenceSection& preference = recipe.preference;
  const PreferenceLoss loss = preference.loss;
  const std::string with = fmt::format("with preference.loss: {}", word_of(loss));
  const bool has_reference = needs_reference(loss);
  const bool smooths = loss == cdpo || loss == robust || loss == simpo || loss == cpo;
  if (loss != simpo && *preference.gamma > 0) c.mistake("preference.gamma", "has no effect " + with, "remove the key");
  if (!smooths && *preference.label_smoothing > 0) {
    c.mistake("preference.label_smoothing", "has no effect " + with,
              loss == sigmoid ? "cdpo is sigmoid with label smoothing" : "remove the key");
  }
  if (!has_reference) c.without_effect({"preference.reference"}, with + ", which compares with no reference");
  if (loss == kto && *preference.sft_weight > 0) {
    c.mistake("preference.sft_weight", "has no effect " + with, "remove the key");
  }
  if (has_reference && recipe.adapter.kind == AdapterKind::full && compares_with_start(preference)) {
    c.mistake(
        c.has("preference.reference") ? "preference.reference" : "adapter.kind",
        fmt::format("full moves every weight, and nothing is left of the model as it was, with which "
                    "preference.loss: {} compares",
                    word_of(loss)),
        loss == kto ? "name a model" : "preference.reference=precomputed keeps its log-probabilities; or name a model");
  }
  if (loss == kto && keeps_log_probs(preference)) {
    c.mistake("preference.reference", "kto asks the reference for answers to other prompts, anew in every step",
              recipe.adapter.kind == AdapterKind::full ? "name a model" : "use start, or name a model");
  }
  if (loss == kto && *recipe.train.batch == 1) {
    c.mistake("train.batch", "kto compares an answer with the others of its step: at least 2");
  }
  check_pairs(c, recipe.data, loss == kto);
}

}  // namespace prentice
