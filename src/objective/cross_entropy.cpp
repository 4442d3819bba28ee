#include "objective/cross_entropy.h"

#include "core/wide_type.h"
#include "objective/head_share.h"

namespace prentice {

Tensor cross_entropy_share(const Tensor& hidden, const Linear& head, double final_softcap, const Batch& batch,
                           const Counts& counts, const ForwardOptions& options, const HeadChunks& chunks) {
  const Tensor row_weights = token_shares(batch, counts, wide_type(hidden), "cross-entropy");
  const HeadInput in = labelled_rows(hidden, head, final_softcap, batch, options);
  return head_share(in, row_weights, chunks, [&](const Chunk& chunk, Tensor& logits, bool gradients) {
    return label_losses(in.labels.narrow(0, chunk.begin, chunk.size), logits, gradients);
  });
}

}  // namespace prentice
