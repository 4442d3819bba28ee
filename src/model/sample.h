// Choosing the next token from its logits. Separate from generate.cpp so that the choice can be tested without a model.
#pragma once

#include "core/tensor.h"
#include "model/generate.h"

namespace prentice {

// scores [V] of any type and device; `draw` in [0, 1) is used unless temperature is 0. Filters in transformers' order:
// temperature, the top_k largest (0 = all), then the smallest set of largest ones whose probability reaches top_p.
// Ties of the greedy choice go to the lowest id. Errors: `numerical` for a score that is NaN.
int32_t choose_token(const Tensor& scores, const SampleOptions& options, double draw);

}  // namespace prentice
