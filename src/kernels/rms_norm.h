// RMSNorm with its gradient (Zhang and Sennrich 2019): one pass over the rows.
#pragma once

#include <tuple>

#include "core/tensor.h"

namespace prentice {

// x [T, D], weight [D] -> [T, D] in x's type. The mean square is taken in f32 (f64 for f64).
// offset 0: weight * cast(x / rms); otherwise cast((offset + weight) * x / rms).
Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps, double offset);

// The stream with what a part of the block adds to it, and that normalised, in one pass over the rows each way. x and
// residual are alike, [T, D]. -> (sum, normed): sum = x + residual, rounded to the type; normed = rms_norm(sum). Both
// inputs get one gradient: the norm's, rounded to the type, plus that of the sum, rounded again. These are the
// roundings of the addition followed by rms_norm, so that no bit of values or gradients differs from theirs: a block
// whose norm is computed again in the backward pass takes those two steps. (A CUDA device adds up a row's squares in
// another order where rows do not start at multiples of 16 bytes.)
std::tuple<Tensor, Tensor> add_rms_norm(const Tensor& x, const Tensor& residual, const Tensor& weight, double eps,
                                        double offset);

// The same from ATen operations alone: the references of the tests.
Tensor rms_norm_composite(const Tensor& x, const Tensor& weight, double eps, double offset);
std::tuple<Tensor, Tensor> add_rms_norm_composite(const Tensor& x, const Tensor& residual, const Tensor& weight,
                                                  double eps, double offset);

}  // namespace prentice
