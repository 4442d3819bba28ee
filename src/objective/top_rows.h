// What a teacher says about the labelled rows of a batch: its likeliest tokens, chunk by chunk of the head. Separate
// from the losses because nothing is compared here, and what comes out is kept.
#pragma once

#include "objective/head.h"

namespace prentice {

// Of N rows, the likeliest token first.
struct TopRows {
  Tensor ids;        // [N, k] int64
  Tensor log_probs;  // [N, k] f64, over the vocabulary
  Tensor tail;       // [N] f64: 1 minus the mass of the k entries, exactly 0 when they are the whole vocabulary
};

// Rows in the order of batch.target_rows; no gradients, no dropout. Logits behind `vocab`, with which a vocabulary is
// padded, take no part. 1 <= k <= vocab. Memory: that of one chunk, its sum in f64.
TopRows top_rows(const Tensor& hidden, const Linear& head, double final_softcap, const Batch&, int64_t vocab, int64_t k,
                 const HeadChunks& = {});

}  // namespace prentice
