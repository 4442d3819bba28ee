// Log-probabilities of labels from hidden states and the head, for losses over sums of them (preferences) and for
// scoring. Separate from cross_entropy.h, whose gradients are formed with the loss: here each row's factor is only
// known in backward, which makes the logits of every chunk a second time.
#pragma once

#include "objective/head.h"

namespace prentice {

// log p(label) of every labelled row, in the order of batch.target_rows: [N] f32 (f64 for f64 input), with gradients to
// `hidden` [T, D], the head's weight, bias and adapter. Keeps the rows, not the logits: memory is that of one chunk.
Tensor token_log_probs(const Tensor& hidden, const Linear& head, double final_softcap, const Batch&,
                       const ForwardOptions& options = {}, const HeadChunks& = {});

// The same without a gradient and without dropout.
Tensor label_log_probs(const Tensor& hidden, const Linear& head, double final_softcap, const Batch&,
                       const HeadChunks& = {});

// log p(label) of row `rows[i]` of hidden: for readers that have no batch. rows, labels [N] int64 on hidden's device.
Tensor label_log_probs(const Tensor& hidden, const Linear& head, double final_softcap, const Tensor& rows,
                       const Tensor& labels, const HeadChunks& = {});

}  // namespace prentice
