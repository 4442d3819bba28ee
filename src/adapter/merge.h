// Adapters folded into the weights they sit on: of one layer, for exports that stream, or of a whole model in place.
#pragma once

#include "core/tensor.h"
#include "model/model.h"

namespace prentice {

// Rows of W become those of W + scale B A, in place; with a magnitude each then gets this length (DoRA). rows [n, in]
// in f32 or f64, like the rest; a [R, in], b [n, R], magnitude [n] or undefined.
void merge_rows(Tensor& rows, const Tensor& a, const Tensor& b, double scale, const Tensor& magnitude);
// The whole weight [out, in], computed in f32 (or f64) and rounded once, to W's dtype.
Tensor merged_weight(const Tensor& weight, const Lora&);
// Folds every adapter into its weight, joined storage included; a quantized weight becomes a dense one first; modules
// saved whole stay, in the base's type. A tied model whose embedding or head alone is adapted becomes an untied one.
void merge(Model&);

}  // namespace prentice
