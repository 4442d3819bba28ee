// Whether two models read the same tokens: what a reference and a teacher must.
#pragma once

#include <string>

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

}  // namespace prentice
