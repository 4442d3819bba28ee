// The launchers of the gated activation's CUDA kernels, on raw pointers.
#pragma once

#include <cstdint>

#include "kernels/cuda_type.h"
#include "kernels/gate_math.h"

namespace prentice {

// Matrices are [rows, width] with rows `_stride` elements apart.
struct GatedLaunch {
  const void *gate, *up;
  int64_t rows, width, gate_stride, up_stride;
  void* y;  // dense
};
struct GatedBackwardLaunch {
  const void *grad, *gate, *up;
  int64_t rows, width, grad_stride, gate_stride, up_stride;
  void* both;  // [rows, 2 * width], dense: the gradients of gate and up beside each other
};

// Each returns a cudaError_t. `stream` is a cudaStream_t.
int launch_gated(const GatedLaunch&, Gate gate, CudaType type, void* stream);
int launch_gated_backward(const GatedBackwardLaunch&, Gate gate, CudaType type, void* stream);

}  // namespace prentice
