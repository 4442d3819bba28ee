// Every mistake of a recipe that can be told without weights and data: its words, and what the shape of its model does
// not allow, of a pipeline in every step; and what its first rows warn of.
#pragma once

#include <string>
#include <vector>

#include "config/read.h"

namespace prentice {

// Returns the warnings. A model or an adapter that is not there yet, because an earlier step makes it, has the shape of
// what that step begins with; where that is not known, nothing is held against it. Errors: all mistakes at once, in
// file order: `usage`; `model` where nothing is wrong but model files and what they can be written as.
std::vector<std::string> validate_recipe(const Node& recipe);

// What loading the data warns of, as far as the first rows tell it; nothing where they cannot be read. `recipe` is
// valid.
std::vector<std::string> warnings_of_rows(const Node& recipe);

}  // namespace prentice
