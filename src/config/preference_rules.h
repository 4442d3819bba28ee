// What a preference section contradicts in itself or in the rest of its recipe.
#pragma once

#include "config/checker.h"
#include "config/kinds.h"

namespace prentice {

// `recipe` is resolved.
void check_preference(Checker& checker, const DpoRecipe& recipe);

}  // namespace prentice
