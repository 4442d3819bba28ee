// From a weight file's bytes to tensors: the one place that knows which stored types a tensor can be filled from.
#pragma once

#include <c10/core/ScalarType.h>

#include <optional>

#include "core/tensor.h"
#include "io/safetensors.h"

namespace prentice {

// What a diagnostic suggests where a type is not among them.
inline constexpr const char* kStoredTypes = "supported: F32, BF16, F16, F64";

// nullopt for a type no weight is stored in (integers, FP8).
std::optional<c10::ScalarType> stored_type(DType);

// Copies the stored values into `destination` (same shape; any type and device), converted on the way; the file's bytes
// are never copied whole when they are aligned. `view.dtype` has a stored_type.
void copy_stored(Tensor& destination, const TensorView& view);

// A copy on the CPU in the stored type; it outlives the file's mapping.
Tensor stored_values(const TensorView& view);

}  // namespace prentice
