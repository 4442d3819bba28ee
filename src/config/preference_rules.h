// What a preference section contradicts in itself or in the rest of its recipe, and what pairs of answers forbid.
#pragma once

#include <string>
#include <string_view>

#include "config/checker.h"
#include "config/kinds.h"

namespace prentice {

// What to type for a word that is a loss and no kind: "dpo preference.loss=cpo"; "" for any other word.
std::string words_for_loss(std::string_view word);

// Whether the loss compares the policy with a reference.
bool needs_reference(PreferenceLoss);
// What preference.reference says: the model as it was before the first step, the same as log-probabilities that are
// kept, or else a model of its own address.
bool compares_with_start(const PreferenceSection&);
bool keeps_log_probs(const PreferenceSection&);
bool names_a_model(const PreferenceSection&);

// What rows of pairs forbid of the section that reads them. `labels`: single labelled answers are read too.
void check_pairs(Checker& checker, const DataSection& data, bool labels);

// `recipe` is resolved.
void check_preference(Checker& checker, const DpoRecipe& recipe);

}  // namespace prentice
