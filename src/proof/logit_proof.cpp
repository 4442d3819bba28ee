#include "proof/logit_proof.h"

#include "proof/logit_comparison.h"

namespace prentice {

namespace {

std::vector<int64_t> next_ids(const std::vector<Batch>& batches) {
  std::vector<int64_t> next;
  for (const auto& batch : batches) {
    const Tensor ids = batch.tokens.cpu();
    const auto* from = ids.const_data_ptr<int64_t>();
    const auto begin = static_cast<int64_t>(next.size());
    next.insert(next.end(), from + 1, from + ids.size(0));
    next.push_back(-1);
    for (const int64_t start : batch.host_starts) {
      if (start > 0) next[static_cast<size_t>(begin + start - 1)] = -1;
    }
  }
  return next;
}

}  // namespace

SideBySide::SideBySide(const WeightReader& model, const WeightReader& artifact, const std::vector<Batch>& batches,
                       const std::function<void()>& before_layer)
    : before_layer_(before_layer),
      vocab_(model.spec.vocab),
      next_(next_ids(batches)),
      model_(model, batches),
      artifact_(artifact, batches) {
  for (size_t i = 0; i < static_cast<size_t>(model.spec.layers); ++i) {
    before_layer();
    model_.step(i), artifact_.step(i);
  }
  model_.finish(), artifact_.finish();
}

LogitsOf SideBySide::logits_of(const LayerWalk& walk, const Tensor& tokens) const {
  const Tensor& all = walk.states();
  const Tensor states = tokens.defined() ? all.index_select(0, tokens.to(all.device())) : all;
  return [this, &walk, states](int64_t first, int64_t count) {
    before_layer_();
    return walk.logits(states, first, count);
  };
}

LogitProof SideBySide::compare(const std::vector<int32_t>& stop_ids) const {
  LogitComparison found(vocab_, stop_ids);
  found.add(of_model({}), of_artifact({}), next_);
  return found.result();
}

}  // namespace prentice
