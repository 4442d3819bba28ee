// A model's weights as a GGUF file of blocks holds them, made of those that a reader gives: what a run with adapter.qat
// trained, where the model is not in memory.
#pragma once

#include "adapter/qat.h"
#include "proof/weight_reader.h"

namespace prentice {

// `types` by the names of weights.spec. A tensor that it does not name is read as it is. Errors: those of reading and
// of encode().
WeightReader as_served(WeightReader weights, ServedTypes types);

}  // namespace prentice
