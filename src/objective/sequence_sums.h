// From log-probabilities of labels to one number per sequence, and from sequences to pairs: the way from a flat batch
// to the scores that preference losses are functions of.
#pragma once

#include "core/batch.h"

namespace prentice {

// Sum over each sequence's labelled rows of weight * value, [S] f64, differentiable; `values` [N] is in the order of
// batch.target_rows. Each sequence is added up by itself in f64, in the order of its positions, so neither its place in
// the batch nor the device's threads change its sum. A padded row (weight 0) adds nothing.
Tensor sequence_sums(const Tensor& values, const Batch&);
// Sum of the label weights of each sequence, [S] f64: how many tokens were summed.
Tensor sequence_tokens(const Batch&);

// values [S] of the sequences that play `role`, in the order of their pairs: [pairs], differentiable. Batch::pair
// counts from 0 in its batch; a sequence of another role, or of a pair outside [0, pairs) (padding), is left out.
Tensor of_role(const Tensor& values, const Batch&, int role, int64_t pairs);

}  // namespace prentice
