// The matrix behind a weight held in NF4, where products take it: made anew for each pass, in memory that is used
// again. Separate from quant/nf4.h, which knows no device.
#pragma once

#include "core/tensor.h"
#include "quant/nf4.h"

namespace prentice {

// [rows, columns] in `type`. On the CPU the memory is the thread's own and the next call takes it over, so no result
// outlives the next call; elsewhere the device's allocator keeps it. No gradient: what is held so does not train.
Tensor dequantized(const Nf4& weight, at::ScalarType type);

}  // namespace prentice
