// What a distill section contradicts in itself or in the rest of its recipe.
#pragma once

#include "config/checker.h"
#include "config/kinds.h"

namespace prentice {

// Whether the loss compares hidden states, not distributions.
bool compares_states(DistillLoss loss);
// Whether distill.teacher is a folder of log-probabilities that were written once, not a model: by its store.json, or
// by samples.h5 where that is lost.
bool names_store(const DistillSection& section);

// `recipe` is resolved.
void check_distill(Checker& checker, const DistillRecipe& recipe);

}  // namespace prentice
