// A model's weights as training on a base in four bits reads them, made of those that a reader gives.
#pragma once

#include "model/model.h"
#include "proof/weight_reader.h"

namespace prentice {

// Of the weights that such a model holds so (model/stored_nf4.h), what NF4 leaves, made where they are read to: those
// are to be read whole. The others as they are. `quantize`: nf4 or nf4_single. Errors: those of reading; `numerical` or
// `model` for values that are not finite.
WeightReader in_four_bits(WeightReader weights, Quantize quantize);

}  // namespace prentice
