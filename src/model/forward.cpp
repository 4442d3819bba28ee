#include <ATen/TensorOperators.h>
#include <ATen/ops/tanh.h>

#include "model/decoder.h"
#include "model/model.h"

namespace prentice {

Tensor forward_hidden(const Model& model, const Batch& batch, const ForwardOptions& options, const LayerTap& tap) {
  return run_decoder(model, {.ids = batch.tokens,
                             .host_ids = batch.host_tokens,
                             .rotary = {batch.positions, batch.host_starts},
                             .attend = [batch](size_t, const Tensor& q, const Tensor& k, const Tensor& v,
                                               const AttentionOptions& how) { return attention(q, k, v, batch, how); },
                             .linear = [batch, options](const Linear& layer,
                                                        const Tensor& x) { return linear(layer, x, batch, options); },
                             .project = [batch, options](const Projection& layer,
                                                         const Tensor& x) { return project(layer, x, batch, options); },
                             .see_layer = tap,
                             .recomputed = options.recomputed,
                             .offload = options.offload});
}

Tensor logits(const Model& model, const Tensor& hidden) {
  const Tensor scores = linear(head_at_hand(model), hidden);
  const double cap = model.spec.final_softcap;
  return cap > 0 ? at::tanh(scores / cap) * cap : scores;
}

}  // namespace prentice
