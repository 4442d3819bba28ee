// Universal logit distillation between models of different vocabularies: what is compared are the sorted probabilities,
// so ids need no counterpart. Separate from distill.h, whose teacher shares ids and positions.
#pragma once

#include "objective/distill.h"

namespace prentice {

// A model that has seen the same texts in its own tokens.
struct UldTeacher {
  Tensor hidden;  // [T', D'], without gradients
  const Linear& head;
  double final_softcap = 0;
  // [N] int64: the teacher's row that each labelled row of the student (in the order of batch.target_rows) is compared
  // with, or -1 where there is none; such a row has cross-entropy only.
  Tensor rows;
  int64_t vocab = 0;  // the teacher's true vocabulary; 0 = all rows of its head
};

// Boizard et al. 2024, eq. 4: a row's divergence is the sum of |p - q| over both sides' probabilities in descending
// order, the shorter padded with zeros. It replaces the divergence of DistillOptions, of which temperature (with T^2,
// as in tvd, of which this is twice the least over all maps of ids), weight and vocab (the student's) are read.
// Normalised as distill_share.
DistillShare uld_share(const Tensor& hidden, const Linear& head, double final_softcap, const Batch&, const Counts&,
                       const UldTeacher&, const DistillOptions&, const ForwardOptions& options = {},
                       const HeadChunks& = {});

}  // namespace prentice
