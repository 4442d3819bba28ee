// The launcher of the CUDA kernels that dequantize GGUF blocks, on raw pointers.
#pragma once

#include <cstdint>

#include "kernels/cuda_type.h"

namespace prentice {

struct GgufLaunch {
  const uint8_t* bytes;  // blocks side by side
  uint32_t type;         // GgmlType
  int64_t values;        // whole blocks of them
  void* out;             // [values]
};

// Returns a cudaError_t; cudaErrorInvalidValue for a type that has no kernel. `stream` is a cudaStream_t.
int launch_gguf(const GgufLaunch&, CudaType type, void* stream);

}  // namespace prentice
