#include "proof/merge_difference.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/log_softmax.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "model/decoder.h"
#include "proof/logit_proof.h"

namespace prentice {

namespace {

constexpr int64_t kRows = 64;  // of the vocabulary at a time

// The layers of the model in memory as the merged files have them.
class MergedLayers {
 public:
  MergedLayers(const Model& model, const WeightSource& merged, const MergedForm& form) : merged_(merged), form_(form) {
    const auto own = expected_tensors(model.spec);  // in the order of the merged model's, whatever their names there
    for (size_t i = 0; i < own.size() && i < merged.tensors().size(); ++i) index_[own[i].name] = i;
  }

  Linear operator()(const Linear& layer) const {
    const size_t index = index_.at(layer.name + ".weight");
    Tensor values = at::empty({layer.out_features, layer.in_features}, at::kFloat);
    merged_.read_rows(index, 0, layer.out_features,
                      {values.mutable_data_ptr<float>(), static_cast<size_t>(values.numel())});
    const auto options = weight_options(layer);
    Linear made{.name = layer.name,
                .weight = Dense{},
                .bias = layer.bias,
                .in_features = layer.in_features,
                .out_features = layer.out_features};
    if (form_.nf4) {
      Nf4 held = make_nf4(layer.out_features, layer.in_features, true, options);
      encode_nf4(values, held);
      made.weight = held;
    } else {
      made.weight = Dense{values.to(form_.type).to(options)};
    }
    return made;
  }

 private:
  const WeightSource& merged_;
  MergedForm form_;
  std::map<std::string, size_t> index_;
};

Tensor merged_hidden(const Model& model, const MergedLayers& layers, const Batch& batch) {
  return run_decoder(model, {.ids = batch.tokens,
                             .rotary = {batch.positions, batch.host_starts},
                             .attend = [&](size_t, const Tensor& q, const Tensor& k, const Tensor& v,
                                           const AttentionOptions& how) { return attention(q, k, v, batch, how); },
                             .linear = [&](const Linear& layer, const Tensor& x) { return linear(layers(layer), x); },
                             .project =
                                 [&](const Projection& layer, const Tensor& x) {
                                   Projection one{.widths = layer.widths};
                                   for (const Linear& part : layer.parts) one.parts.push_back(layers(part));
                                   return project(one, x);
                                 }});
}

}  // namespace

MergeDifference merge_difference(const Model& model, const WeightSource& merged, const MergedForm& form,
                                 const Batch& batch) {
  const c10::NoGradGuard no_grad;
  const Tensor own = forward_hidden(model, batch, {});
  const Tensor other = merged_hidden(model, MergedLayers(model, merged, form), batch);
  MergeDifference found{.tokens = own.size(0)};
  for (int64_t first = 0; first < found.tokens; first += kRows) {
    const int64_t rows = std::min(kRows, found.tokens - first);
    const auto log_probs = [&](const Tensor& hidden) {
      return at::log_softmax(logits(model, hidden.narrow(0, first, rows)).to(at::kDouble), -1);
    };
    const Tensor p = log_probs(own), q = log_probs(other);
    found.mean_kl += (p.exp() * (p - q)).sum().item<double>();
    found.largest = std::max(found.largest, (p - q).abs().max().item<double>());
    found.top1 += (p.argmax(-1) == q.argmax(-1)).sum().item<double>();
  }
  const auto tokens = static_cast<double>(std::max<int64_t>(1, found.tokens));
  found.mean_kl /= tokens, found.top1 /= tokens;
  return found;
}

MergeDifference merge_difference(const WeightReader& trained, const WeightReader& merged,
                                 const std::vector<Batch>& batches, const std::function<void()>& before_layer) {
  const c10::NoGradGuard no_grad;
  const LogitProof found = SideBySide(trained, merged, batches, before_layer).compare({});
  return {.tokens = found.tokens, .mean_kl = found.kld_mean, .largest = found.largest, .top1 = found.top1};
}

Check merge_check(const MergeDifference& found, const std::string& base) {
  return at_most_check("log-probabilities on four bits", found.mean_kl, kMostMergeKl,
                       fmt::format("a mean KL of {:.3g} nats from what was trained (at most {}), over {} tokens; the "
                                   "same likeliest token at {:.1f} %; largest "
                                   "difference {:.2g}; merged with {}",
                                   found.mean_kl, kMostMergeKl, found.tokens, 100 * found.top1, found.largest, base));
}

}  // namespace prentice
