// The matrix behind a weight held in GGUF blocks, where products take it: made anew for each pass, in memory that is
// used again. Separate from quant/gguf_blocks.h, which knows no device.
#pragma once

#include "core/tensor.h"
#include "quant/gguf_blocks.h"

namespace prentice {

// [rows, columns] in `type`; on the CPU in a reused_buffer. No gradient: what is held so does not train.
Tensor dequantized(const GgufBlocks& weight, at::ScalarType type);

// The rows `ids` [T] as [T, columns] in weight.type, memory of their own: an embedding.
Tensor looked_up(const GgufBlocks& weight, const Tensor& ids);

}  // namespace prentice
