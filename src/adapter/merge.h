// Adapters folded into the weights they sit on: of one layer, or of a whole model in place.
#pragma once

#include "core/tensor.h"
#include "model/model.h"
#include "nn/merge_rows.h"

namespace prentice {

// The whole weight [out, in], computed in f32 (or f64) and rounded once, to W's dtype.
Tensor merged_weight(const Tensor& weight, const Lora&);
// Folds every adapter into its weight, joined storage included; a quantized weight becomes a dense one first; modules
// saved whole stay, in the base's type. A tied model whose embedding or head alone is adapted becomes an untied one.
void merge(Model&);

}  // namespace prentice
