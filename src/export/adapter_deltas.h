// The weight changes that a PEFT folder stands for, by module, without a model around them.
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "core/tensor.h"
#include "model/spec.h"

namespace prentice {

// W becomes W + scale * B A. Both on the CPU in f32; undefined when there is no change.
struct AdapterDelta {
  Tensor a;  // [R, in]
  Tensor b;  // [out, R]
  double scale = 1;
};

// Module name -> change. Errors: `usage` when the folder is missing; `model` for a tensor that is no LoRA factor, one
// without its pair, or a shape that does not fit the spec's module.
std::map<std::string, AdapterDelta> read_adapter_deltas(const std::filesystem::path& folder, const ModelSpec& spec);

}  // namespace prentice
