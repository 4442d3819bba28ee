// Fused causal attention of a flat batch on the CPU: LibTorch's flash kernel, sequence by sequence and without copying
// key heads for grouped queries, as one differentiable operation.
#pragma once

#include <cstdint>
#include <vector>

#include "core/tensor.h"

namespace prentice {

// q [T, H, E], k and v [T, K, E]; starts [S+1] on the host. window 0 = all keys before. -> [T, H, E]
Tensor flash_attention_cpu(const Tensor& q, const Tensor& k, const Tensor& v, const std::vector<int64_t>& starts,
                           double scale, int64_t window);

}  // namespace prentice
