// The launcher of the CUDA kernel that moves a weight by 8-bit AdamW, on raw pointers.
#pragma once

#include <cstdint>

#include "kernels/adamw_8bit_code.h"
#include "kernels/cuda_type.h"

namespace prentice {

struct Adamw8BitLaunch {
  struct Moment {
    uint8_t* codes;    // [count]
    float* absmax;     // [ceil(count / kDynamicBlock)]
    const float* map;  // [256]
  };
  void* weight;
  const void* gradient;
  int64_t count;
  Moment first, second;
  const AdamwStep* step;
  const float* skip;
  AdamwRates by;
};

// Returns a cudaError_t. `stream` is a cudaStream_t.
int launch_adamw_8bit(const Adamw8BitLaunch&, CudaType type, void* stream);

}  // namespace prentice
