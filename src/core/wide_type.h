// The type that sums, norms and trained tensors have. Separate from tensor.h, which nearly every file includes.
#pragma once

#include "core/tensor.h"

namespace prentice {

// f64 stays f64, everything else is f32: of bf16 and f16 only single values are kept, never what is computed from many.
inline at::ScalarType wide_type(at::ScalarType type) { return type == at::kDouble ? at::kDouble : at::kFloat; }
inline at::ScalarType wide_type(const Tensor& tensor) { return wide_type(tensor.scalar_type()); }

}  // namespace prentice
