// Whether a folder's tokenizer is the model's as data, which no number of texts shows: its ids, merges and added
// tokens, and what it makes of every token's text and id.
#pragma once

#include <vector>

#include "proof/check.h"
#include "text/tokenizer.h"

namespace prentice {

// "ids of tokens"; where both are a tokenizer.json also "tokenizer.json" and, unless the two are the same bytes,
// "texts of tokens" and "decoded texts". The rules that cut and clean a text are not compared as they are written but
// by what they do: transformers writes some of them in other words. Errors: `model` for a tokenizer.json that is none.
std::vector<Check> tokenizer_checks(const Tokenizer& model, const Tokenizer& artifact, int threads);

}  // namespace prentice
