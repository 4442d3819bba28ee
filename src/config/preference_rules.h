// What a preference section contradicts in itself or in the rest of its recipe.
#pragma once

#include "config/checker.h"
#include "config/kinds.h"

namespace prentice {

// Whether the loss compares the policy with a reference.
bool needs_reference(PreferenceLoss);

// `recipe` is resolved.
void check_preference(Checker& checker, const DpoRecipe& recipe);

}  // namespace prentice
