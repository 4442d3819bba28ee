// Cross-entropy of logits that are there, with its gradient formed in their place.
#pragma once

#include "core/tensor.h"

namespace prentice {

// -log p(label) of every row, [n]: labels [n] int64 in 0 ... V - 1, logits [n, V] dense, f32 or f64. With `gradients`
// each row's logits become the gradient of its loss, p - onehot (without, they are undefined). Records no gradient.
Tensor label_losses(const Tensor& labels, Tensor& logits, bool gradients);

}  // namespace prentice
