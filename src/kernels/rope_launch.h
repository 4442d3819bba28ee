// The launcher of the CUDA kernel that turns heads, on raw pointers.
#pragma once

#include <cstdint>

#include "kernels/cuda_type.h"

namespace prentice {

struct RopeLaunch {
  const void *x, *cosine, *sine;  // [tokens, heads * width] and [tokens, half], rows `_stride` elements apart
  int64_t tokens, heads, width, half, x_stride, cosine_stride, sine_stride;
  double direction;  // 1, or -1 to turn back
  void* y;           // [tokens, heads * width], likewise; may be x
  int64_t y_stride;
};

// Returns a cudaError_t. `stream` is a cudaStream_t.
int launch_rope(const RopeLaunch&, CudaType type, void* stream);

}  // namespace prentice
