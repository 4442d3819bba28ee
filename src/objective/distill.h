// Distillation from vocabulary distributions: the student's rows pass through its head in chunks, and each chunk meets
// the teacher's, which a live teacher's head makes for the occasion and a store's entries stand for. Nothing of size
// [T, V] is kept; gradients are formed with the loss (head_share.h).
#pragma once

#include "objective/divergence.h"
#include "objective/head.h"
#include "objective/sparse_teacher.h"

namespace prentice {

// Bytes of one side's logits of a chunk when HeadChunks says nothing; two such live at once. At a vocabulary of 152k a
// chunk has 128 rows, as many as a product needs to be fast.
inline constexpr int64_t kDistillLogitBytes = int64_t{80} << 20;

struct DistillOptions {
  Divergence divergence = Divergence::forward_kl;
  double beta = 0.5;       // of jsd
  double temperature = 1;  // T above 0: both sides' logits are divided by it and the divergence is multiplied by T^2
  double weight = 0.5;     // w from 0 to 1: share of the distillation, the rest is cross-entropy on the labels
  int64_t vocab = 0;       // true size of the vocabulary: rows behind it of either head take no part; 0 = all rows
  int64_t top_k = 0;       // so many of the teacher's likeliest ids are compared one by one; 0 = all that are known
  // What stands for the ids that top_k leaves out of a live teacher; a store's says it itself.
  TeacherTail tail = TeacherTail::event;
};

// A model that has seen the same tokens.
struct LiveTeacher {
  Tensor hidden;  // [T, D'], without gradients
  const Linear& head;
  double final_softcap = 0;
};

// Both parts are shares over the same rows: they add up over micro-batches. Scalars in the softmax's type.
struct DistillShare {
  Tensor loss;           // w * divergence + (1 - w) * cross_entropy, with gradients
  Tensor divergence;     // T^2 times the divergence of each labelled row, weighted; detached
  Tensor cross_entropy;  // of the labels, at temperature 1; detached, and known for every w
  // The teacher's probability in the entries that are compared one by one, weighted as the loss is; undefined where all
  // ids are compared, and of entries without a tail.
  Tensor top_k_mass;
};

// Sum over labelled rows of weight * (w T^2 D(row) + (1 - w) * -log p(label)), divided by counts.tokens (Hinton et al.
// 2015): this batch's share. Gradients to `hidden` [T, D], the student's head and its adapter when they are trained;
// f32 softmax (f64 for f64 input). The teacher's logits are made where its head is and moved to the student.
DistillShare distill_share(const Tensor& hidden, const Linear& head, double final_softcap, const Batch&, const Counts&,
                           const LiveTeacher&, const DistillOptions&, const ForwardOptions& options = {},
                           const HeadChunks& = {});

// The same against a store's entries for the labelled rows.
DistillShare distill_share(const Tensor& hidden, const Linear& head, double final_softcap, const Batch&, const Counts&,
                           const SparseTeacher&, const DistillOptions&, const ForwardOptions& options = {},
                           const HeadChunks& = {});

// T^2 D of every row of one block, [n]: `log_probs` [n, V] are the student's at temperature 1, and become with
// `gradients` the gradient of each value with respect to the logits.
using RowDivergences = std::function<Tensor(const Chunk& block, Tensor& log_probs, bool gradients)>;
// What is made once for a chunk (a teacher's logits), for blocks of the rows of which the result is then called: a
// head's product wants many rows, and what a formula keeps beside the logits few.
using ChunkDivergences = std::function<RowDivergences(const Chunk&)>;

// The share of any distillation beside the labels' cross-entropy; `in` is the student's, cut to the vocabulary.
DistillShare mixed_share(const HeadInput& in, const Batch&, const Counts&, double weight, const HeadChunks&,
                         const ChunkDivergences&);

}  // namespace prentice
