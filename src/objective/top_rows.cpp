#include "objective/top_rows.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/topk.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>

namespace prentice {

TopRows top_rows(const Tensor& hidden, const Linear& head, double final_softcap, const Batch& batch, int64_t vocab,
                 int64_t k, const HeadChunks& chunks) {
  const c10::NoGradGuard no_grad;
  const HeadInput in = cut_to_vocabulary(labelled_rows(hidden, head, final_softcap, batch, {}), vocab);
  const int64_t rows = in.rows.size(0);
  const auto wide = hidden.options().dtype(at::kDouble);
  TopRows top{at::empty({rows, k}, wide.dtype(at::kLong)), at::empty({rows, k}, wide), at::zeros({rows}, wide)};
  visit_chunks(in, chunks, nullptr, [&](const Chunk& chunk, Tensor& logits) -> ChunkGradient {
    const auto narrow = [&](const Tensor& t) { return t.narrow(0, chunk.begin, chunk.size); };
    const auto [values, ids] = at::topk(logits, k, 1, /*largest=*/true, /*sorted=*/true);
    const Tensor most = values.narrow(1, 0, 1).clone();
    const Tensor sum = logits.sub_(most).exp_().sum(1, /*keepdim=*/true, at::kDouble);
    const Tensor log_probs = values.to(at::kDouble) - most.to(at::kDouble) - sum.log();
    narrow(top.ids).copy_(ids);
    narrow(top.log_probs).copy_(log_probs);
    if (k < vocab) narrow(top.tail).copy_(log_probs.exp().sum(1).neg_().add_(1).clamp_min_(0));
    return {};
  });
  return top;
}

}  // namespace prentice
