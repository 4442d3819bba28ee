// x W^T by the library that is fastest for it. On a CPU, ATen hands f32 products to MKL; oneDNN, which LibTorch carries
// too, picks its code by instruction set and not by vendor, and is 5 to 20 % faster on an AMD EPYC
// (experiments/cpu_lora).
#pragma once

#include "core/tensor.h"

namespace prentice {

// x [T, in] and weight [out, in], of one type and in any layout -> [T, out]. No gradient of its own: it is called
// inside operations that have one.
Tensor product_transposed(const Tensor& x, const Tensor& weight);

}  // namespace prentice
