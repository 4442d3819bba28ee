// Masked cross-entropy from hidden states and the head: rows without a label never reach the vocabulary matrix, the
// others pass in chunks, and [T, V] is never made.
#pragma once

#include "core/batch.h"
#include "core/tensor.h"
#include "nn/linear.h"

namespace prentice {

// How many bytes the logits of one chunk may take; 0 = by device (64 MiB on a CPU, 256 MiB on a GPU).
struct HeadChunks {
  int64_t logit_bytes = 0;
};

// Sum over labelled rows of weight * -log p(label), divided by counts.tokens: this batch's share. Scalar f32 with
// gradients to `hidden` [T, D], the head's weight and its adapter when they are trained. f32 softmax (f64 for f64
// input). Logits are soft-capped (c * tanh(z / c)) when final_softcap is above 0; `options` drive the dropout of an
// adapter on the head. All gradients are formed with the loss, so backward only scales them.
Tensor cross_entropy_share(const Tensor& hidden, const Linear& head, double final_softcap, const Batch&, const Counts&,
                           const ForwardOptions& options = {}, const HeadChunks& = {});

// log p(label) of every labelled row, in the order of batch.target_rows: [N] f32 (f64 for f64 input), no gradient.
Tensor label_log_probs(const Tensor& hidden, const Linear& head, double final_softcap, const Batch&,
                       const HeadChunks& = {});

// log p(label) of row `rows[i]` of hidden: for readers that have no batch. rows, labels [N] int64 on hidden's device.
Tensor label_log_probs(const Tensor& hidden, const Linear& head, double final_softcap, const Tensor& rows,
                       const Tensor& labels, const HeadChunks& = {});

}  // namespace prentice
