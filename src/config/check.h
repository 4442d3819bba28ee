// Combinations of keys that cannot work, found before anything is read but the recipe. Separate from reading because
// these rules know several sections at once.
#pragma once

#include "config/kinds.h"
#include "config/read.h"
#include "config/values.h"

namespace prentice {

// Reports into `mistakes` and appends to recipe.warnings. Call after resolve_defaults. `root`: where to point when a
// key is missing.
template <class R>
void check_recipe(R& recipe, const Node& root, RecipeMistakes& mistakes);

// Every path, address and hardware name given must lead somewhere.
template <class R>
void check_paths(R& recipe, const ReadOptions& options, RecipeMistakes& mistakes);

// "" unless `warmup` steps of linear rise are all of a run of `steps`.
std::string warmup_warning(double warmup, int64_t steps);

}  // namespace prentice
