// The trained weights inside a checkpoint. What the recipe wrote there for other programs (a PEFT or Hugging Face
// folder) serves when it holds the tensor bit by bit; only the rest is stored a second time.
#pragma once

#include <filesystem>

#include "core/tensor.h"

namespace prentice {

// Writes weights.json (tensor -> file and name there) and, if needed, trainable.safetensors. Errors: `storage`.
void store_trained(const std::filesystem::path& folder, const NamedTensors& trainable);

// Errors: `model` when a tensor is missing or has another shape or dtype.
void restore_trained(const std::filesystem::path& folder, const NamedTensors& trainable);

}  // namespace prentice
