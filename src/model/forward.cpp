#include <ATen/TensorOperators.h>
#include <ATen/ops/tanh.h>
#include <c10/core/GradMode.h>

#include "model/block.h"
#include "model/model.h"
#include "nn/recompute.h"

namespace prentice {

Tensor forward_hidden(const Model& model, const Batch& batch, const ForwardOptions& options) {
  Tensor x = embed_tokens(model, batch.tokens);
  const auto tables = rope_tables(model.spec, batch.positions, x.scalar_type());
  const BlockContext context{
      .linear = [batch, options](const Linear& layer, const Tensor& in) { return linear(layer, in, batch, options); },
      .project = [batch, options](const Projection& layer,
                                  const Tensor& in) { return project(layer, in, batch, options); },
      .attend = [batch](const Tensor& q, const Tensor& k, const Tensor& v,
                        const AttentionOptions& how) { return attention(q, k, v, batch, how); }};
  for (size_t i = 0; i < model.layers.size(); ++i) {
    // Held by value or by reference to the model, because a recomputed block runs again after this function returned.
    const auto block = [&model, i, context,
                        table = tables[static_cast<size_t>(model.spec.layer[i].rope)]](const Tensor& in) {
      return run_block(model.spec, model.spec.layer[i], model.layers[i], in, table, context);
    };
    x = options.recompute_blocks && c10::GradMode::is_enabled() ? recompute(block, x, trained_tensors(model.layers[i]))
                                                                : block(x);
  }
  return normalize(model.final_norm, x);
}

Tensor logits(const Model& model, const Tensor& hidden) {
  const Tensor scores = linear(model.head, hidden);
  const double cap = model.spec.final_softcap;
  return cap > 0 ? at::tanh(scores / cap) * cap : scores;
}

}  // namespace prentice
