// A low-rank adapter folded into rows of the weight it sits on. Separate from adapter/merge.h because training against
// the merged weight (nn/served_weight.h) must do to the bit what an export does.
#pragma once

#include <cstdint>

#include "core/tensor.h"

namespace prentice {

// Rows of W become those of W + scale B A, in place; with a magnitude each then gets this length (DoRA). rows [n, in]
// in f32 or f64, like the rest; a [R, in], b [n, R], magnitude [n] or undefined.
void merge_rows(Tensor& rows, const Tensor& a, const Tensor& b, double scale, const Tensor& magnitude);

// How many rows of a weight are merged and encoded at a time, a multiple of `multiple`: at most 2 MB of f32, or
// `multiple` rows where these are more. Part of the numerics: a product of another number of rows may add in another
// order.
int64_t rows_at_a_time(int64_t columns, int64_t multiple);

}  // namespace prentice
