// Named tensors to a safetensors file and back into the same tensors, to the bit.
#pragma once

#include <filesystem>
#include <string>

#include "core/tensor.h"
#include "io/safetensors.h"

namespace prentice {

// Errors: `storage`; `internal` for a dtype that no trained tensor has.
void write_tensors(const std::filesystem::path& path, const NamedTensors& tensors);

// Fills every tensor. Errors: `model` when a name is missing, left over, or has another shape or dtype.
void read_tensors(const std::filesystem::path& path, const NamedTensors& tensors);

// Same dtype, shape and bytes? `tensor` may lie on any device.
bool same_bytes(const TensorView& stored, const Tensor& tensor);

// Copies the bytes into the tensor. Errors: `model` when dtype or shape differ.
void fill_tensor(const Tensor& tensor, const TensorView& stored);

}  // namespace prentice
