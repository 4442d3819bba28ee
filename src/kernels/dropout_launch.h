// The launcher of the CUDA dropout kernel, on raw pointers.
#pragma once

#include <cstdint>

#include "kernels/cuda_type.h"

namespace prentice {

struct DropoutLaunch {
  const void* x;               // [rows, columns], rows `stride` elements apart
  void* y;                     // [rows, columns], side by side
  const int64_t* sample_key;   // [S]
  const int32_t* sequence_id;  // [rows]
  const int64_t* positions;    // [rows]
  int64_t rows, columns, stride;
  uint64_t seed;
  int64_t step, module;
  double rate;
};

// Returns a cudaError_t. `stream` is a cudaStream_t.
int launch_dropout(const DropoutLaunch&, CudaType type, void* stream);

}  // namespace prentice
