// A loss over the head whose gradients are formed with it, chunk by chunk, so that the logits are made once: the way
// of cross-entropy and of every distillation from logits. Which loss it is, a function of one chunk's logits says.
#pragma once

#include "core/batch.h"
#include "objective/head.h"

namespace prentice {

// Loss of each row of one chunk, [n], from its soft-capped logits [n, V]; with `gradients` it overwrites the logits
// with the gradient of each row's own loss (without, with what it likes).
using RowLosses = std::function<Tensor(const Chunk&, Tensor& logits, bool gradients)>;

// sum_i row_weights_i * loss_i, a scalar in the softmax's type, with gradients to the tensors of HeadInput that ask for
// one. Backward only scales gradients. `row_weights` [N] in the softmax's type.
Tensor head_share(const HeadInput&, const Tensor& row_weights, const HeadChunks&, const RowLosses&);

// Weights of the labelled rows, [N] in type `type`, divided by counts.tokens. Counts without a token are a mistake of
// the caller: `what` names the loss.
Tensor token_shares(const Batch&, const Counts&, c10::ScalarType type, const char* what);

// sum_i row_weights_i * values_i, added up in f64 so that the sum does not depend on how many rows one batch has; in
// the type of the weights.
Tensor weighted_sum(const Tensor& values, const Tensor& row_weights);

}  // namespace prentice
