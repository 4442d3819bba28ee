// Which modules of a model an adapter section chooses, and what it asks for that the model does not have. Separate from
// attaching because a recipe is held against a model's shape long before there are weights.
#pragma once

#include <string>
#include <vector>

#include "config/adapter_rules.h"
#include "model/model.h"

namespace prentice {

// The modules that a fresh adapter sits on, in the order of adaptable_names. Errors: `usage` for an expression that
// does not parse.
std::vector<std::string> chosen_modules(const Model&, const AdapterSection&);

// All that is wrong with a section that starts afresh (config/adapter_rules.h), on a model that may be on `meta`: its
// contradictions; targets, layers, patterns and saved modules that match nothing; what the chosen modules cannot have.
// Errors: as above.
std::vector<KeyMistake> adapter_mistakes(const Model&, const AdapterSection&);

// Dropout on a head with a magnitude of its own is not in this version: the head's loss reads its rows in chunks, where
// a dropped input has one use only (objective/head.h).
KeyMistake dropout_on_head(const std::string& head);

}  // namespace prentice
