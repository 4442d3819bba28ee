// The one header that brings in torch's types. It includes the tensor alone (3 s a file); a source adds the
// operations it calls as <ATen/ops/NAME.h>.
//
// Shape legend, used in comments everywhere:
//   T tokens of a flat batch   S sequences   N rows that have a label
//   D hidden   H heads   K key/value heads   E head dimension   F feed-forward   V vocabulary   R adapter rank
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <utility>
#include <vector>

namespace prentice {

using at::Tensor;

// Tensors with their Hugging Face names, in a fixed order.
using NamedTensors = std::vector<std::pair<std::string, Tensor>>;

}  // namespace prentice
