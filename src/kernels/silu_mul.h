// The gated activation of the feed-forward block, silu(gate) * up (Shazeer 2020, SwiGLU), with its gradient.
#pragma once

#include "core/tensor.h"

namespace prentice {

// gate, up [T, F], rows may lie inside a wider matrix -> [T, F]. On the CPU the gradients of both are views of one
// [T, 2F] tensor, so that one product takes them on.
Tensor silu_mul(const Tensor& gate, const Tensor& up);

// The same from ATen operations alone: the form for other devices, and the reference of the tests.
Tensor silu_mul_composite(const Tensor& gate, const Tensor& up);

}  // namespace prentice
