// From the name of an element type to the type, in the files that nvcc compiles.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include "kernels/cuda_type.h"

namespace prentice {

// use.operator()<T>() of the type, which returns a cudaError_t; cudaErrorInvalidValue for none.
template <class Use>
int with_device_type(CudaType type, Use&& use) {
  switch (type) {
    case CudaType::f32:
      return use.template operator()<float>();
    case CudaType::f64:
      return use.template operator()<double>();
    case CudaType::f16:
      return use.template operator()<__half>();
    case CudaType::bf16:
      return use.template operator()<__nv_bfloat16>();
  }
  return cudaErrorInvalidValue;
}

}  // namespace prentice
