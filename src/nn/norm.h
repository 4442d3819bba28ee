// RMSNorm and LayerNorm as plain structs.
#pragma once

#include <string>

#include "core/tensor.h"

namespace prentice {

struct Norm {
  std::string name;  // model.layers.0.input_layernorm
  Tensor weight;     // [D]
  Tensor bias;       // [D], undefined when there is none
  double eps = 1e-6;
  double offset = 0;     // y * (offset + w)
  bool centred = false;  // LayerNorm: the mean is taken off first
};

Tensor normalize(const Norm&, const Tensor& x);  // [T, D] -> [T, D]

}  // namespace prentice
