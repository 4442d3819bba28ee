// The launcher of the CUDA kernel that dequantizes NF4, on raw pointers.
#pragma once

#include <cstdint>

#include "kernels/cuda_type.h"
#include "quant/nf4_code.h"

namespace prentice {

struct Nf4Launch {
  const uint8_t* codes;  // [ceil(count / 2)]
  Nf4Scales scales;
  int64_t block, count;  // block: a multiple of 8
  void* out;             // [count], aligned to 16 bytes
};

// Returns a cudaError_t. `stream` is a cudaStream_t.
int launch_nf4(const Nf4Launch&, CudaType type, void* stream);

}  // namespace prentice
