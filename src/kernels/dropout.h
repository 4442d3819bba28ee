// Dropout whose mask is a function and not a state: Philox4x32-10 of (seed, step, sample, module, position, feature),
// so that packing, micro-batches, recomputation and resuming cannot change it. CPU and CUDA give the same bits.
#pragma once

#include <cstdint>

#include "core/tensor.h"

namespace prentice {

struct DropoutKey {
  uint64_t seed = 0;
  int64_t step = 0;
  int64_t module = 0;
  double rate = 0;     // share of features that become 0
  Tensor sample_key;   // [S] int64
  Tensor sequence_id;  // [T] int32
  Tensor positions;    // [T] int64
};

// x [T, D] -> x * mask / (1 - rate). Linear in x, so the same call on the gradient is its gradient; it records none.
Tensor apply_dropout(const Tensor& x, const DropoutKey& key);

// The same, differentiable in x.
Tensor dropout(const Tensor& x, const DropoutKey& key);

}  // namespace prentice
