// The gated activation of the feed-forward block, gate(x) * up (Shazeer 2020: SwiGLU, GEGLU), with its gradient.
#pragma once

#include "core/tensor.h"
#include "kernels/gate_math.h"

namespace prentice {

// gate, up [T, F], rows may lie inside a wider matrix -> [T, F], rounded once. The gradients of both are views of one
// [T, 2F] tensor, so that one product takes them on.
Tensor gated(Gate kind, const Tensor& gate, const Tensor& up);

// The same from ATen operations alone: the reference of the tests.
Tensor gated_composite(Gate kind, const Tensor& gate, const Tensor& up);

}  // namespace prentice
