// An addition to the stream and the norm behind it. Separate from norm.h, which nearly every file includes.
#pragma once

#include <tuple>

#include "nn/norm.h"

namespace prentice {

// x + residual, and that sum normalised [T, D]: the bits of the two steps, in one pass where the norm is RMSNorm.
std::tuple<Tensor, Tensor> add_and_normalize(const Norm&, const Tensor& x, const Tensor& residual);

}  // namespace prentice
