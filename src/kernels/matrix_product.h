// x W^T by the library that is fastest for it. On a CPU, ATen hands f32 products to MKL; oneDNN, which LibTorch carries
// too, picks its code by instruction set and not by vendor, and is 5 to 20 % faster on an AMD EPYC
// (experiments/cpu_lora).
#pragma once

#include <cstdint>

#include "core/tensor.h"

namespace prentice {

// Whether an f32 product on a CPU is oneDNN's, which keeps what it compiled for each shape.
bool is_for_one_dnn(int64_t rows, int64_t in, int64_t out);

// x [T, in] and weight [out, in], of one type and in any layout -> [T, out]. No gradient of its own: it is called
// inside operations that have one.
Tensor product_transposed(const Tensor& x, const Tensor& weight);

}  // namespace prentice
