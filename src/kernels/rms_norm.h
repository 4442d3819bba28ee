// RMSNorm with its gradient (Zhang and Sennrich 2019): one pass over the rows.
#pragma once

#include "core/tensor.h"

namespace prentice {

// x [T, D], weight [D] -> [T, D] in x's type. The mean square is taken in f32 (f64 for f64).
// offset 0: weight * cast(x / rms); otherwise cast((offset + weight) * x / rms).
Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps, double offset);

// The same from ATen operations alone: the reference of the tests.
Tensor rms_norm_composite(const Tensor& x, const Tensor& weight, double eps, double offset);

}  // namespace prentice
