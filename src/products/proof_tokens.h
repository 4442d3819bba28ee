// The tokens that a model and a file made of it are both run on: rows of the user's where there are some, else prose
// and conversations that ship.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "config/schema.h"
#include "core/batch.h"
#include "data/data_set.h"
#include "proof/logit_limits.h"
#include "text/tokenizer.h"

namespace prentice {

// At most `tokens` in sequences of at most `context`, on `device`. `rows` may be empty.
std::vector<Batch> proof_batches(std::span<const Sequence> rows, const Tokenizer&, int64_t context, int64_t tokens,
                                 c10::Device device);

// As many as verify.tokens has where it is automatic.
std::vector<Batch> proof_batches(std::span<const Sequence> rows, const Tokenizer&, int64_t context, c10::Device device);

// The texts of rows, for tokenizers to agree on: the first few thousand.
std::vector<std::string> texts_of(const DataSet& rows);

}  // namespace prentice
