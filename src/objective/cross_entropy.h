// Masked cross-entropy from hidden states and the head: rows without a label never reach the vocabulary matrix, the
// others pass in chunks.
#pragma once

#include "objective/head.h"

namespace prentice {

// Sum over labelled rows of weight * -log p(label), divided by counts.tokens: this batch's share. Scalar f32 with
// gradients to `hidden` [T, D], the head's weight and its adapter when they are trained. f32 softmax (f64 for f64
// input). Logits are soft-capped (c * tanh(z / c)) when final_softcap is above 0; `options` drive the dropout of an
// adapter on the head. All gradients are formed with the loss, so backward only scales them.
Tensor cross_entropy_share(const Tensor& hidden, const Linear& head, double final_softcap, const Batch&, const Counts&,
                           const ForwardOptions& options = {}, const HeadChunks& = {});

}  // namespace prentice
