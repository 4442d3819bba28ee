// A frozen weight that is held smaller than products take it.
#pragma once

#include <variant>

#include "kernels/gguf_blocks.h"
#include "kernels/nf4.h"

namespace prentice {

using Packed = std::variant<Nf4, GgufBlocks>;

// [rows, columns] in `type`; gone with the next one.
inline Tensor dequantized(const Packed& weight, at::ScalarType type) {
  return std::visit([&](const auto& held) { return dequantized(held, type); }, weight);
}
inline int64_t row_count(const Packed& weight) {
  return std::visit([](const auto& held) { return held.rows; }, weight);
}
inline at::TensorOptions options_of(const Packed& weight) {
  return std::visit([](const auto& held) { return held.options(); }, weight);
}

}  // namespace prentice
