// The tokens of a prompt and of every answer that might follow it, encoded as the data's own rows are: as one text.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "eval/score.h"

namespace prentice {

struct EncodedChoice {
  std::vector<int32_t> prompt;
  std::vector<std::vector<int32_t>> answers;  // by candidate, end token included
};

// Example `index` with each candidate in place of its answer. Errors: `data`.
std::vector<EncodedChoice> encode_choices(const EvalInput&, const std::vector<int64_t>& indices,
                                          const std::vector<std::vector<std::string>>& candidates);

// The prompt alone, for generation. Errors: `data` when the example has none.
std::vector<int32_t> encode_prompt(const EvalInput&, int64_t index);

}  // namespace prentice
