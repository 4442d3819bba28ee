// Paths on the command line start from the current folder, those in a recipe from its own: what was typed for the one,
// as the other spells it.
#pragma once

#include <filesystem>

#include "config/node.h"

namespace prentice {

// Respells the paths in `recipe`, which was made of words alone, for a file in `folder`. What is absolute, a name (of
// the hub, of a shape, a word of the key) or relative to the current folder in a recipe, too (run.out), stays as it is.
void respell_paths(Node& recipe, const std::filesystem::path& folder);

}  // namespace prentice
