// The kernels' name of a LibTorch type, for the files between the two.
#pragma once

#include <c10/core/ScalarType.h>
#include <c10/util/Exception.h>

#include "kernels/cuda_type.h"

namespace prentice {

inline CudaType cuda_type(c10::ScalarType type) {
  switch (type) {
    case c10::kFloat:
      return CudaType::f32;
    case c10::kDouble:
      return CudaType::f64;
    case c10::kHalf:
      return CudaType::f16;
    case c10::kBFloat16:
      return CudaType::bf16;
    default:
      TORCH_INTERNAL_ASSERT(false, "activations are floating point");
  }
}

}  // namespace prentice
