// The 8-bit dynamic data type (Dettmers et al. 2022, 8-bit Optimizers via Block-wise Quantization, section 1.3): a
// decimal exponent of variable length, and a linear fraction in the bits that are left.
#pragma once

#include "core/tensor.h"
#include "quant/dynamic_code.h"

namespace prentice {

// [256] f32, ascending: create_dynamic_map of bitsandbytes. From -0.99 to 1, and from 0 to 1 with a bit more of
// fraction.
const Tensor& signed_dynamic_map();
const Tensor& unsigned_dynamic_map();

}  // namespace prentice
