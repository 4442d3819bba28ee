// What was typed on the command line as a recipe spells it: lists and maps are written out there, and paths start from
// its own folder, not from the current one.
#pragma once

#include <filesystem>
#include <string>

#include "config/node.h"

namespace prentice {

// Respells the paths in `recipe`, which was made of words alone, for a file in `folder`. What is absolute, a name (of
// the hub, of a shape, a word of the key) or relative to the current folder in a recipe, too (run.out), stays as it is.
void respell_paths(Node& recipe, const std::filesystem::path& folder);

// Makes a list or a map of every word like [a, b] or {a: b} of `recipe`, a recipe of `kind`, whose key takes one.
// Errors: `usage` for a word that is none.
void unfold_words(Node& recipe, const std::string& kind);

}  // namespace prentice
