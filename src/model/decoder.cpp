#include "model/decoder.h"

#include <c10/core/GradMode.h>

#include <memory>

#include "model/block.h"
#include "nn/offloaded.h"
#include "nn/recompute.h"

namespace prentice {

namespace {

std::vector<RopeTable> rope_tables(const ModelSpec& spec, const RotaryInput& input, at::ScalarType type) {
  std::vector<RopeTable> tables;
  for (const auto& rope : spec.ropes) tables.push_back(rope_table(rope, input, type));
  return tables;
}

}  // namespace

Tensor run_decoder(const Model& model, const DecoderPass& pass) {
  Tensor x = embed_tokens(model, pass.ids, pass.host_ids);
  const auto tables = rope_tables(model.spec, pass.rotary, x.scalar_type());
  const bool recomputes = pass.recomputed != Recomputed::nothing && c10::GradMode::is_enabled();
  const auto offloaded = recomputes && pass.offload ? std::make_shared<OffloadedInputs>(x.device()) : nullptr;
  for (size_t i = 0; i < model.layers.size(); ++i) {
    const LayerSpec& kind = model.spec.layer[i];
    const BlockContext context{
        .linear = pass.linear,
        .project = pass.project,
        .attend = [attend = pass.attend, i](const Tensor& q, const Tensor& k, const Tensor& v,
                                            const AttentionOptions& how) { return attend(i, q, k, v, how); },
        .recompute_mlp = pass.recomputed == Recomputed::mlp,
        .offloaded = offloaded};
    // Held by value or by reference to the model, because a recomputed block runs again after this function returned.
    const auto block = [&model, &kind, i, context, table = tables[static_cast<size_t>(kind.rope)]](const Tensor& in) {
      return run_block(model.spec, kind, model.layers[i], in, table, context);
    };
    const bool again = recomputes && pass.recomputed == Recomputed::block;
    x = again ? recompute(block, x, trained_tensors(model.layers[i]), offloaded) : block(x);
    if (pass.see_layer) pass.see_layer(i, x);
  }
  return normalize(model.final_norm, x);
}

}  // namespace prentice
