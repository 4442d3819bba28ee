// Rotary position embedding of query and key heads, with its gradient (Su et al. 2021, eq. 34, in the half-split
// layout: feature j pairs with j + R/2).
#pragma once

#include "core/tensor.h"

namespace prentice {

// x [T, H, E]; cosine, sine [T, R/2] with R <= E. Features from R on pass through. -> [T, H, E]
Tensor rotate(const Tensor& x, const Tensor& cosine, const Tensor& sine);

// The same where x [T, H * E] lies, with H * E side by side; nothing else may need x as it was, and x is no view that
// autograd knows of. -> x
Tensor rotate_in_place(const Tensor& x, int64_t heads, const Tensor& cosine, const Tensor& sine);

// The same from ATen operations alone: the reference of the tests.
Tensor rotate_composite(const Tensor& x, const Tensor& cosine, const Tensor& sine);

}  // namespace prentice
