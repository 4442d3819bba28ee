// Adapters that came with a larger vocabulary than their base has: how many rows, and whether they hold them all.
// Separate from peft_folder.h because it is asked before there is a model of that size.
#pragma once

#include <filesystem>

#include "model/spec.h"

namespace prentice {

// The base's spec, with as many rows of the vocabulary as the embedding in the PEFT folder has, where those are more.
// Errors: `usage` when folder or file are missing; `model` when they are corrupt, or when embedding or head are not
// stored whole, so that the new rows of one of them are nowhere.
ModelSpec with_adapter_vocabulary(ModelSpec base, const std::filesystem::path& folder);

// Adds the last names of embedding and head to `words` (modules_to_save) where no word covers them yet. Returns those
// added. A tied model whose both ends are saved stays tied (adapter/saved_modules.h).
std::vector<std::string> save_both_ends(const ModelSpec&, std::vector<std::string>& words);

}  // namespace prentice
