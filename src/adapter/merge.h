// Adapters folded into the weights they sit on: of one layer, for exports that stream, or of a whole model in place.
#pragma once

#include "core/tensor.h"
#include "model/model.h"

namespace prentice {

Tensor merged_weight(const Tensor& weight, const Lora&);  // W + scale B A, computed in f32 (or f64), in W's dtype
// The same of a whole layer: with DoRA each row gets the length that its magnitude says.
Tensor merged_weight(const Linear&);
Tensor merged_embedding(const Model&);  // E + scale (B A)^T
// Folds every adapter into its weight, joined storage included; modules saved whole stay, in the base's type. A tied
// model whose embedding or head alone is adapted becomes an untied one.
void merge(Model&);

}  // namespace prentice
