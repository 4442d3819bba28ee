// From a weight file's bytes to tensors: the one place that knows which stored types a tensor can be filled from.
#pragma once

#include <c10/core/ScalarType.h>

#include <optional>
#include <vector>

#include "core/tensor.h"
#include "io/safetensors.h"
#include "quant/nf4.h"

namespace prentice {

// What a diagnostic suggests where a type is not among them.
inline constexpr const char* kStoredTypes = "supported: F32, BF16, F16, F64";

// nullopt for a type no weight is stored in (integers, FP8).
std::optional<c10::ScalarType> stored_type(DType);

struct StoredCopy {
  Tensor destination;        // any type and device
  const TensorView* source;  // of the same shape, in a stored_type
};

// Copies the stored values, converted on the way, shared out over the threads; the file's bytes are never copied whole
// when they are aligned, and its pages are let go as soon as their values are taken. In the order of the file, so that
// pages are read once.
void copy_stored(const std::vector<StoredCopy>&);

// The same into a weight in NF4. Errors: `model` for a value, or a mean of nested scales, that is not finite.
void encode_stored(Nf4& destination, const TensorView& view);

// A copy on the CPU in the stored type; it outlives the file's mapping.
Tensor stored_values(const TensorView& view);

}  // namespace prentice
