// The launchers of RMSNorm's CUDA kernels, on raw pointers.
#pragma once

#include <cstdint>

#include "kernels/cuda_type.h"

namespace prentice {

// Matrices are [rows, width] with rows `_stride` elements apart, or dense where none is named. T is the given type, W
// f64 for f64 and else f32.
struct RmsNormLaunch {
  const void* x;       // T
  const void* weight;  // T [width]
  int64_t rows, width, x_stride;
  double eps, offset;
  void* y;       // T
  void* scales;  // W [rows]: 1 / rms

  const void* residual = nullptr;  // T: added to x first, if given,
  int64_t residual_stride = 0;
  void* sum = nullptr;  // T: and the sum written here
};

struct RmsNormBackwardLaunch {
  const void *grad, *x, *weight, *scales;
  int64_t rows, width, grad_stride, x_stride;
  double offset;
  void* dx;  // T

  const void* sum_grad = nullptr;  // T: added to dx, if given
  int64_t sum_grad_stride = 0;
};

// The gradient of the weight in two stages: sums of slabs of rows, then their sum in order.
struct RmsNormWeightLaunch {
  const void *grad, *x, *scales;
  int64_t rows, width, grad_stride, x_stride;
  int64_t slabs;  // 1 to 65,535
  void* partial;  // W [slabs, width]
  void* dweight;  // W [width]
};

// Each returns a cudaError_t. `stream` is a cudaStream_t.
int launch_rms_norm(const RmsNormLaunch&, CudaType type, void* stream);
int launch_rms_norm_backward(const RmsNormBackwardLaunch&, CudaType type, void* stream);
int launch_rms_norm_weight(const RmsNormWeightLaunch&, CudaType type, void* stream);

}  // namespace prentice
