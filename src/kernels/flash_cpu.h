// Causal attention of a flat batch on the CPU in blocks of queries, as one differentiable operation: memory grows with
// the length of a sequence, not with its square (Dao et al. 2022; a block here sees all its keys at once). On `meta`
// tensors it gives the shapes and allocates what the CPU would keep.
#pragma once

#include <cstdint>
#include <vector>

#include "core/tensor.h"

namespace prentice {

// q [T, H, E], k and v [T, K, E]; starts [S+1] on the host. window 0 = all keys before. -> [T, H, E]
Tensor flash_attention_cpu(const Tensor& q, const Tensor& k, const Tensor& v, const std::vector<int64_t>& starts,
                           double scale, int64_t window);

}  // namespace prentice
