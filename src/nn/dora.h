// DoRA (Liu et al. 2024): the adapted weight's rows have lengths of their own, which train beside their direction.
#pragma once

#include "kernels/dropout.h"
#include "nn/linear.h"

namespace prentice {

// [out] f32 (f64 of an f64 weight): the squares of the norms of the rows of weight [out, in].
Tensor row_squares(const Tensor& weight);

// magnitude / |W + scale B A| by row, [out]. The gradient reaches the magnitude only (section 4.3). The norm comes from
// row_squares, W A^T and A A^T, so that no matrix of the weight's size is made.
Tensor dora_gain(const Linear&);

// The norms by row that the adapted weight has, [out]: the magnitude that changes nothing.
Tensor adapted_row_norms(const Linear&);

// What becomes of a product when the layer's adapter has a magnitude.
// product = x W^T + scale x A^T B^T, [T, out] -> gain * product + bias
Tensor with_magnitude(const Linear&, const Tensor& product);
// With dropout the frozen product stays, and what the adapter adds reads d = dropout(x), as in PEFT:
// frozen = x W^T -> frozen + (gain - 1) * d W^T + gain * scale d A^T B^T + bias
Tensor with_magnitude(const Linear&, const Tensor& frozen, const Tensor& x, const DropoutKey&);

}  // namespace prentice
