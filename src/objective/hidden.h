// Distillation from hidden states of one layer of each model: plain autograd over [N, D], as no vocabulary is near.
#pragma once

#include "core/batch.h"

namespace prentice {

// Student [T, Ds] and teacher [T, Dt] states over the same tokens. `projection` [Dt, Ds] is learned and brings the
// student's to the teacher's width; undefined where both are one width. The teacher gets no gradient. Computed over the
// labelled rows in f32 (f64 for f64 input), with a row's label weight w. Scalars: this batch's share for one layer; the
// mean over mapped layers is the caller's. (DistillKit's definitions.)

// sum w |P h_s - h_t|^2 / (counts.tokens * Dt): the mean over elements.
Tensor hidden_mse_share(const Tensor& student, const Tensor& teacher, const Tensor& projection, const Batch&,
                        const Counts&);
// sum w (1 - cos(P h_s, h_t)) / counts.tokens
Tensor hidden_cosine_share(const Tensor& student, const Tensor& teacher, const Tensor& projection, const Batch&,
                           const Counts&);

}  // namespace prentice
