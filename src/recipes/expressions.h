// The words of a recipe that only other rooms can read: patterns over names, templates over records. Checked here with
// their place in the file, so that `validate` finds them and no run does work before they are known to be good.
#pragma once

#include <string>
#include <string_view>

#include "config/kinds.h"
#include "model/spec.h"

namespace prentice {

// "FILE:LINE:COL: " of what the user wrote for a key ("command line: "); "" for a default.
std::string place_of(const RecipeFacts& recipe, std::string_view key);

// adapter.targets, rank_pattern and alpha_pattern, export.types, data.prompt and data.completion must parse.
// Errors: `usage`, with the place.
template <class R>
void check_expressions(const R& recipe);

// The same for whatever kind a node names; of a pipeline, every step.
void check_expressions_of(const Node& recipe);

// Each entry of export.types must name a tensor of the model that may have a type of its own. Errors: `usage`.
void check_tensor_types(const ExportSection& section, const RecipeFacts& recipe, const ModelSpec& spec);

}  // namespace prentice
