// Masked cross-entropy from hidden states and the head: rows without a label never reach the vocabulary matrix, the
// others pass in chunks, and [T, V] is never made.
#pragma once

#include "core/batch.h"
#include "core/tensor.h"
#include "nn/linear.h"

namespace prentice {

// Sum over labelled rows of weight * -log p(label), divided by counts.tokens: this batch's share. Scalar f32 with
// gradients to `hidden` [T, D], the head's weight and its adapter when they are trained. f32 softmax (f64 for f64 input).
Tensor cross_entropy_share(const Tensor& hidden, const Linear& head, double final_softcap, const Batch&, const Counts&);

// log p(label) of every labelled row, [N] f32, no gradient.
Tensor label_log_probs(const Tensor& hidden, const Linear& head, double final_softcap, const Batch&);

}  // namespace prentice
