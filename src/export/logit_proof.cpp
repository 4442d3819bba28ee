#include "export/logit_proof.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/maximum.h>
#include <ATen/ops/tanh.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>

#include "adapter/merge.h"
#include "adapter/qat.h"
#include "core/error.h"
#include "model/block.h"
#include "model/make.h"
#include "model/rope_table.h"

namespace prentice {

namespace {

constexpr double kUnlikely = -9.210340371976182;  // log 1e-4

// The decoder of one side as far as it is read, and the states of all tokens behind it.
class Walk {
 public:
  Walk(const WeightReader& weights, const std::vector<Batch>& batches)
      : weights_(weights),
        batches_(batches),
        model_(make_model(weights.spec, {.dtype = at::kFloat, .device = at::kMeta})) {
    Tensor embed = whole(weights.spec.names.embed + ".weight", model_.embed);
    const double scale = weights.spec.embed_scale;
    for (const auto& batch : batches) {
      const Tensor rows = at::index_select(embed, 0, batch.tokens.cpu()).to(batch.tokens.device());
      states_.push_back(scale == 1 ? rows : rows * scale);
    }
  }

  void step(size_t index) {
    Layer layer = model_.layers[index];
    layer.qkv.joined = Tensor(), layer.gate_up.joined = Tensor();
    const auto tensors = [&](auto& part) {
      visit_tensors(part, [&](const std::string& name, Tensor& tensor) { tensor = whole(name, tensor).to(device()); });
    };
    visit_layer(layer, tensors, tensors);
    const LayerSpec& kind = model_.spec.layer[index];
    const RopeSpec& rope = model_.spec.ropes[static_cast<size_t>(kind.rope)];
    for (size_t i = 0; i < batches_.size(); ++i) {
      const Batch& batch = batches_[i];
      states_[i] = run_block(model_.spec, kind, layer, states_[i],
                             rope_table(rope, {batch.positions, batch.host_starts}, at::kFloat),
                             {.linear = [](const Linear& part, const Tensor& x) { return linear(part, x); },
                              .project = [](const Projection& part, const Tensor& x) { return project(part, x); },
                              .attend = [&](const Tensor& q, const Tensor& k, const Tensor& v,
                                            const AttentionOptions& how) { return attention(q, k, v, batch, how); }});
    }
  }

  void finish() {
    visit_tensors(model_.final_norm,
                  [&](const std::string& name, Tensor& tensor) { tensor = whole(name, tensor).to(device()); });
    for (auto& states : states_) states = normalize(model_.final_norm, states);
    const ModelSpec& spec = model_.spec;
    const std::string& owner = spec.tied_head ? spec.names.embed : spec.names.head;
    head_ = whole(owner + ".weight", std::get<Dense>(model_.head.weight).weight);
    if (model_.head.bias.defined()) bias_ = whole(model_.head.name + ".bias", model_.head.bias);
  }

  // Of ids [first, first + count): [T, count] f64
  Tensor logits(size_t batch, int64_t first, int64_t count) const {
    Tensor scores = at::matmul(states_[batch], head_.narrow(0, first, count).to(device()).t());
    if (bias_.defined()) scores = scores + bias_.narrow(0, first, count).to(device());
    const double cap = model_.spec.final_softcap;
    return (cap > 0 ? at::tanh(scores / cap) * cap : scores).to(at::kDouble);
  }

 private:
  c10::Device device() const { return batches_.front().tokens.device(); }
  Tensor whole(const std::string& name, const Tensor& shape) const {
    Tensor values = at::empty(shape.sizes(), at::TensorOptions(at::kFloat));
    weights_.read(name, values);
    return values;
  }

  const WeightReader& weights_;
  const std::vector<Batch>& batches_;
  Model model_;  // on `meta`, but for what is read
  std::vector<Tensor> states_;
  Tensor head_, bias_;  // on the CPU
};

// One side's distribution over the vocabulary, whose logits are made in parts and, where there are several, twice.
struct Distribution {
  Tensor largest, total;  // [T] f64: the largest logit, and the sum of exponentials above it
  Tensor likeliest;       // [T] int64
  Tensor single;          // [T, V], where that is one part

  Tensor logarithm() const { return largest + total.log(); }
};

int64_t part_of(int64_t tokens, int64_t vocab) {
  return std::clamp<int64_t>(kProofLogits / std::max<int64_t>(tokens, 1), 1, vocab);
}

Distribution distribution(const Walk& walk, size_t batch, int64_t tokens, int64_t vocab) {
  Distribution found;
  const int64_t part = part_of(tokens, vocab);
  for (int64_t first = 0; first < vocab; first += part) {
    const Tensor scores = walk.logits(batch, first, std::min(part, vocab - first));
    const auto [most, at] = scores.max(-1);
    if (!found.largest.defined()) {
      found.largest = most, found.likeliest = at, found.total = (scores - most.unsqueeze(1)).exp().sum(-1);
      if (part == vocab) found.single = scores;
      continue;
    }
    const Tensor larger = at::maximum(found.largest, most);
    found.likeliest = at::where(most.gt(found.largest), at + first, found.likeliest);
    found.total = found.total * (found.largest - larger).exp() + (scores - larger.unsqueeze(1)).exp().sum(-1);
    found.largest = larger;
  }
  return found;
}

bool holds(const std::vector<int32_t>& ids, int64_t id) { return std::ranges::count(ids, id) > 0; }

struct Sums {
  std::vector<double> divergences;
  double own_loss = 0, other_loss = 0, same = 0, confidence = 0;
};

// [T] int64 on the host: the id behind every position, trained on or not; -1 at the end of a sequence
std::vector<int64_t> next_ids(const Batch& batch) {
  const Tensor ids = batch.tokens.cpu();
  const auto* from = ids.const_data_ptr<int64_t>();
  std::vector<int64_t> next(from + 1, from + ids.size(0));
  next.push_back(-1);
  for (const int64_t start : batch.host_starts) {
    if (start > 0) next[static_cast<size_t>(start) - 1] = -1;
  }
  return next;
}

void compare_batch(const Walk& own, const Walk& other, size_t index, const Batch& batch, int64_t vocab,
                   const std::vector<int32_t>& stop_ids, LogitProof& found, Sums& sums) {
  const int64_t tokens = batch.tokens.size(0), part = part_of(tokens, vocab);
  const Distribution p = distribution(own, index, tokens, vocab), q = distribution(other, index, tokens, vocab);
  const Tensor p_log = p.logarithm().unsqueeze(1), q_log = q.logarithm().unsqueeze(1);
  if (!at::isfinite(p_log).all().item<bool>()) fail(ExitCode::numerical, "the model's own logits are not finite");
  sums.confidence += p.total.reciprocal().sum().item<double>();
  const std::vector<int64_t> next = next_ids(batch);
  Tensor divergences = at::zeros_like(p.largest);
  for (int64_t first = 0; first < vocab; first += part) {
    const int64_t count = std::min(part, vocab - first);
    const Tensor lp = (p.single.defined() ? p.single : own.logits(index, first, count)) - p_log;
    const Tensor difference = lp - ((q.single.defined() ? q.single : other.logits(index, first, count)) - q_log);
    divergences = divergences + (lp.exp() * difference).sum(-1);
    found.largest = std::max(found.largest, (difference.abs() * lp.gt(kUnlikely)).max().item<double>());
    for (int64_t row = 0; row < tokens; ++row) {
      const int64_t label = next[static_cast<size_t>(row)] - first;
      if (label < 0 || label >= count) continue;
      const double loss = -lp.select(0, row).select(0, label).item<double>();
      ++found.targets;
      sums.own_loss += loss, sums.other_loss += loss + difference.select(0, row).select(0, label).item<double>();
    }
  }
  const Tensor all = divergences.cpu(), mine = p.likeliest.cpu(), theirs = q.likeliest.cpu();
  for (int64_t row = 0; row < tokens; ++row) {
    const double divergence = all.const_data_ptr<double>()[row];
    sums.divergences.push_back(std::isfinite(divergence) ? std::max(divergence, 0.0) : HUGE_VAL);
    const int64_t a = mine.const_data_ptr<int64_t>()[row], b = theirs.const_data_ptr<int64_t>()[row];
    sums.same += a == b ? 1 : 0;
    if (holds(stop_ids, a)) ++found.ends, found.ends_kept += holds(stop_ids, b) ? 1 : 0;
  }
}

// The adapter is in it, rounded where the file rounds.
Tensor values_in_products(const Linear& linear) {
  if (!linear.lora) return weight_values(linear);
  if (!linear.lora->served) return merged_weight(weight_values(linear), *linear.lora);
  const HeldWeight& held = linear.lora->served->of(dense_weight(linear), *linear.lora);
  const auto* blocks = std::get_if<GgufBlocks>(&held);
  return blocks ? dequantized(*blocks, at::kFloat) : std::get<Dense>(held).weight;
}

}  // namespace

WeightReader reader_of(const WeightSource& source) {
  const auto places = std::make_shared<std::map<std::string, size_t>>();
  for (const auto& tensor : source.tensors()) (*places)[tensor.name] = places->size();
  return {source.spec(), [&source, places](const std::string& name, const Tensor& destination) {
            const int64_t rows = destination.dim() > 0 ? destination.size(0) : 1;
            source.read_rows(places->at(name), 0, rows,
                             {destination.mutable_data_ptr<float>(), static_cast<size_t>(destination.numel())});
            source.release();
          }};
}

WeightReader reader_of(const GgufReader& file, const ModelSpec& spec) {
  const auto tensors = std::make_shared<std::map<std::string, GgufTensor>>();
  for (auto& tensor : match_gguf(spec, file)) tensors->emplace(tensor.name, tensor);
  return {spec, [&file, spec, tensors](const std::string& name, const Tensor& destination) {
            copy_gguf_values(tensors->at(name), spec, destination);
            file.release_pages();
          }};
}

WeightReader reader_of(const Model& model) {
  ModelSpec spec = decoder_alone(model.spec);
  const auto tensors = std::make_shared<std::map<std::string, std::function<Tensor()>>>();
  visit(model, [&](const std::string& name, const Tensor& tensor) { (*tensors)[name] = [tensor] { return tensor; }; });
  visit_linears(model, [&](const Linear& linear) {
    (*tensors)[linear.name + ".weight"] = [&linear] { return values_in_products(linear); };
  });
  if (const auto& held = model.embed_blocks) {
    (*tensors)[model.spec.names.embed + ".weight"] = [held] { return dequantized(*held, at::kFloat); };
  }
  // The decoder alone may have other names than the model around it, in the same order.
  const auto own = expected_tensors(model.spec), alone = expected_tensors(spec);
  const auto names = std::make_shared<std::map<std::string, std::string>>();
  for (size_t i = 0; i < own.size(); ++i) (*names)[alone[i].name] = own[i].name;
  return {std::move(spec), [tensors, names](const std::string& name, const Tensor& destination) {
            destination.copy_(tensors->at(names->at(name))());
          }};
}

LogitProof prove_logits(const WeightReader& model, const WeightReader& artifact, const std::vector<Batch>& batches,
                        const std::vector<int32_t>& stop_ids, const std::function<void()>& before_layer) {
  const c10::NoGradGuard no_grad;
  Walk own(model, batches), other(artifact, batches);
  for (size_t i = 0; i < static_cast<size_t>(model.spec.layers); ++i) {
    before_layer();
    own.step(i), other.step(i);
  }
  own.finish(), other.finish();
  LogitProof found;
  Sums sums;
  for (size_t i = 0; i < batches.size(); ++i) {
    before_layer();
    found.tokens += batches[i].tokens.size(0);
    compare_batch(own, other, i, batches[i], model.spec.vocab, stop_ids, found, sums);
  }
  auto& all = sums.divergences;
  const auto count = static_cast<double>(std::max<size_t>(1, all.size()));
  for (const double one : all) found.kld_mean += one / count;
  std::ranges::sort(all);
  if (!all.empty()) found.kld_p99 = all[std::min(all.size() - 1, all.size() * 99 / 100)];
  found.top1 = sums.same / count, found.confidence = sums.confidence / count;
  if (found.targets > 0)
    found.perplexity_ratio = std::exp((sums.other_loss - sums.own_loss) / static_cast<double>(found.targets));
  return found;
}

}  // namespace prentice
