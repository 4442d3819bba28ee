// What a reference and a teacher must have in common with the model that asks them: they give words, and read the same
// tokens.
#pragma once

#include <string>

#include "model/spec.h"
#include "text/tokenizer.h"

namespace prentice {

struct NamedTokenizer {
  const std::string& address;  // of its model
  const Tokenizer& tokenizer;
};

// What is different, with both sizes and the first token that differs; "" when nothing is.
std::string vocabulary_difference(const NamedTokenizer& theirs, const NamedTokenizer& ours);

// Errors: `model`, told of `key`, whose model has another vocabulary.
void require_same_vocabulary(const std::string& key, const NamedTokenizer& theirs, const NamedTokenizer& ours,
                             const std::string& hint);

// Errors: `usage`, told of `key`, for the spec of a reward model: the recipe names a wrong one.
void require_language_model(const std::string& key, const std::string& address, const ModelSpec&);

}  // namespace prentice
