// A teacher of which only the likeliest entries of each row are known, as a store keeps them. Separate from the
// divergences of whole rows: it says what stands for the entries that are missing.
#pragma once

#include "config/schema.h"
#include "core/tensor.h"
#include "objective/divergence.h"
#include "objective/head.h"

namespace prentice {

// Entries of N labelled rows, in the order of batch.target_rows, on the student's device. What the mass outside them
// counts as (TeacherTail):
//   event        one more event, of the teacher's tail and of all the student's other ids together: a true divergence
//                on k + 1 events, 0 only where the student agrees with all that is known
//   renormalize  nothing: the teacher's entries are scaled to sum to 1 (DistillKit's ZERO), so that a student that
//                agrees with the teacher is still taught to forget what lies outside
struct SparseTeacher {
  Tensor ids;        // [N, K] integer, distinct in a row
  Tensor log_probs;  // [N, K] natural logarithms at temperature 1
  Tensor counts;     // [N] integer, 1 to K: how many entries of each row are there; what stands behind them is not read
  Tensor tail;       // [N] the mass outside the entries; not read with renormalize
  TeacherTail convention = TeacherTail::event;
};

SparseTeacher narrow_rows(const SparseTeacher&, const Chunk&);
// The likeliest `top_k` entries of each row; the others' mass joins the tail.
SparseTeacher keep_likeliest(const SparseTeacher&, int64_t top_k);
// The same of whole rows of log-probabilities [N, V].
SparseTeacher likeliest_entries(const Tensor& log_probs, int64_t top_k);

// T^2 times the divergence of every row, [n]. `log_probs` [n, V] are the student's at temperature 1; with `gradients`
// they become the gradient of each value with respect to the logits. At temperature T an event of probability e
// becomes e^(1/T) / Z, the tail too; with an event on both sides alike, with renormalize the student is the softmax of
// all its logits / T. A row whose entries are the whole vocabulary has no tail.
Tensor sparse_divergences(const SparseTeacher&, Divergence, double beta, double temperature, Tensor& log_probs,
                          bool gradients);

}  // namespace prentice
