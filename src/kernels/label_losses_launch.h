// The launcher of the cross-entropy's CUDA kernel, on raw pointers.
#pragma once

#include <cstdint>

#include "kernels/cuda_type.h"

namespace prentice {

struct LabelLossesLaunch {
  const int64_t* labels;  // [rows]
  void* logits;           // [rows, width], dense; becomes the gradient
  int64_t rows, width;
  bool gradients;
  void* losses;  // [rows], of the logits' type
};

// Returns a cudaError_t; cudaErrorInvalidValue for halves. `stream` is a cudaStream_t.
int launch_label_losses(const LabelLossesLaunch&, CudaType type, void* stream);

}  // namespace prentice
