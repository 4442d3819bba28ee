// Adapters that came with another shape than their base has: more rows of the vocabulary, or a score head in place of
// it. Separate from peft_folder.h because it is asked before there is a model of that shape.
#pragma once

#include <filesystem>

#include "model/spec.h"

namespace prentice {

// The base's spec, with as many rows of the vocabulary as the embedding in the PEFT folder has, where those are more,
// and with a score head where the folder's task is sequence classification.
// Errors: `usage` when folder or file are missing; `model` when they are corrupt, or when embedding or head are not
// stored whole, so that the new rows of one of them are nowhere; those of with_score_head.
ModelSpec with_adapter_shape(ModelSpec base, const std::filesystem::path& folder);

// Adds the last names of embedding and head to `words` (modules_to_save) where no word covers them yet. Returns those
// added; a score head has no rows of the vocabulary, and is left alone. A tied model whose both ends are saved stays
// tied (adapter/saved_modules.h).
std::vector<std::string> save_both_ends(const ModelSpec&, std::vector<std::string>& words);

}  // namespace prentice
