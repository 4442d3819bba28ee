// Divergences between two distributions per row and their gradients, written out: nothing here knows where logits come
// from, and nothing is kept beside the two tensors but what one formula needs.
#pragma once

#include "core/tensor.h"

namespace prentice {

// How far the student's probabilities p are from the teacher's q.
enum class Divergence {
  forward_kl,  // sum q (log q - log p)
  reverse_kl,  // sum p (log p - log q)
  jsd,         // beta KL(q | M) + (1 - beta) KL(p | M), M = (1 - beta) p + beta q: generalised Jensen-Shannon, Agarwal
               // et al. 2024, eq. 1; beta 0 is forward_kl, 1 is reverse_kl
  tvd,         // sum |p - q| / 2
  cross_entropy,  // -sum q log p: forward_kl and the teacher's entropy, so the gradients of forward_kl
};

// The divergence of every row, [n], of log-probabilities `student` and `teacher` [n, V] of one type; both are
// overwritten: with `gradients` the student's by the gradient with respect to the logits u that it is the log-softmax
// of, else by nothing of use. A log-probability must be finite: a value as low as -1e30 stands for an impossible event.
Tensor divergence_rows(Divergence, double beta, Tensor& student, Tensor& teacher, bool gradients);

}  // namespace prentice
