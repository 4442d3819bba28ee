// x W^T of few rows x with a weight in GGUF blocks, straight from the blocks: generation reads each weight once a
// token, and to write it out first would take longer than the product.
#pragma once

#include "core/tensor.h"
#include "quant/gguf_blocks.h"

namespace prentice {

// Whether gguf_product is the faster way: f32 on the CPU, and few rows.
bool worth_gguf_product(const Tensor& x, const GgufBlocks& weight);

// x [T, columns] -> [T, rows]; in f32, each sum by one thread in a fixed order. No gradient.
Tensor gguf_product(const Tensor& x, const GgufBlocks& weight);

}  // namespace prentice
