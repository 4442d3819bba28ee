#include "proof/layer_walk.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/tanh.h>
#include <ATen/ops/tensor.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>

#include "model/block.h"
#include "model/make.h"
#include "model/rope_table.h"

namespace prentice {

namespace {

// Of `rows`, which begin at id `first` of the embedding, to the places of `states` whose id they are.
void put_rows(const Tensor& rows, int64_t first, const Tensor& ids, const Tensor& states) {
  const auto* id = ids.const_data_ptr<int64_t>();
  for (int64_t i = 0; i < ids.size(0); ++i) {
    const int64_t row = id[i] - first;
    if (row >= 0 && row < rows.size(0)) states.select(0, i).copy_(rows.select(0, row));
  }
}

}  // namespace

LayerWalk::LayerWalk(const WeightReader& weights, const std::vector<Batch>& batches)
    : weights_(weights),
      batches_(batches),
      model_(make_model(weights.spec, {.dtype = at::kFloat, .device = at::kMeta})) {
  const c10::NoGradGuard no_grad;
  const int64_t width = model_.embed.size(1);
  for (const auto& batch : batches) open_states_.push_back(at::full({batch.tokens.size(0), width}, NAN, at::kFloat));
  const Matrix embed = open(weights.spec.names.embed + ".weight", model_.embed);
  for (int64_t first = 0; first < embed.rows; first += rows_at_once(embed)) {
    const Tensor rows = read(embed, first, std::min(rows_at_once(embed), embed.rows - first));
    for (size_t i = 0; i < batches.size(); ++i) put_rows(rows, first, batches[i].tokens.cpu(), open_states_[i]);
  }
  const double scale = weights.spec.embed_scale;
  for (auto& states : open_states_) states = (scale == 1 ? states : states * scale).to(device());
}

void LayerWalk::step(size_t index) {
  const c10::NoGradGuard no_grad;
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
    open_states_[i] = run_block(
        model_.spec, kind, layer, open_states_[i], rope_table(rope, {batch.positions, batch.host_starts}, at::kFloat),
        {.linear = [](const Linear& part, const Tensor& x) { return linear(part, x); },
         .project = [](const Projection& part, const Tensor& x) { return project(part, x); },
         .attend = [&](const Tensor& q, const Tensor& k, const Tensor& v,
                       const AttentionOptions& how) { return attention(q, k, v, batch, how); }});
  }
}

void LayerWalk::finish() {
  const c10::NoGradGuard no_grad;
  visit_tensors(model_.final_norm,
                [&](const std::string& name, Tensor& tensor) { tensor = whole(name, tensor).to(device()); });
  for (auto& states : open_states_) states = normalize(model_.final_norm, states);
  states_ = open_states_.size() == 1 ? open_states_[0] : at::cat(open_states_);
  open_states_.clear();
  const ModelSpec& spec = model_.spec;
  const std::string& owner = spec.tied_head ? spec.names.embed : spec.names.head;
  head_ = open(owner + ".weight", std::get<Dense>(model_.head.weight).weight);
  if (model_.head.bias.defined()) bias_ = whole(model_.head.name + ".bias", model_.head.bias);
}

Tensor LayerWalk::logits(const Tensor& states, int64_t first, int64_t count) const {
  const c10::NoGradGuard no_grad;
  std::vector<Tensor> parts;
  for (int64_t at = 0; at < count; at += rows_at_once(head_)) {
    const Tensor part = read(head_, first + at, std::min(rows_at_once(head_), count - at));
    parts.push_back(at::matmul(states, part.to(device()).t()));
  }
  Tensor scores = parts.size() == 1 ? parts[0] : at::cat(parts, 1);
  if (bias_.defined()) scores = scores + bias_.narrow(0, first, count).to(device());
  const double cap = model_.spec.final_softcap;
  return (cap > 0 ? at::tanh(scores / cap) * cap : scores).to(at::kDouble);
}

Tensor LayerWalk::whole(const std::string& name, const Tensor& shape) const {
  Tensor values = at::empty(shape.sizes(), at::TensorOptions(at::kFloat));
  weights_.read(name, 0, values);
  return values;
}

LayerWalk::Matrix LayerWalk::open(const std::string& name, const Tensor& shape) const {
  return {name, shape.size(0), shape.size(1), shape.numel() <= kHeldValues ? whole(name, shape) : Tensor()};
}

int64_t LayerWalk::rows_at_once(const Matrix& matrix) {
  return matrix.held.defined() ? matrix.rows : std::max<int64_t>(kHeldValues / matrix.columns, 1);
}

Tensor LayerWalk::read(const Matrix& matrix, int64_t first, int64_t count) const {
  if (matrix.held.defined()) return matrix.held.narrow(0, first, count);
  Tensor rows = at::empty({count, matrix.columns}, at::kFloat);
  weights_.read(matrix.name, first, rows);
  return rows;
}

Tensor last_logits(const WeightReader& model, const Batch& batch, const std::function<void()>& before_layer) {
  const std::vector<Batch> batches = {batch};
  LayerWalk walk(model, batches);
  for (size_t i = 0; i < static_cast<size_t>(model.spec.layers); ++i) {
    before_layer();
    walk.step(i);
  }
  walk.finish();
  std::vector<int64_t> last;
  for (size_t i = 1; i < batch.host_starts.size(); ++i) last.push_back(batch.host_starts[i] - 1);
  const Tensor states = walk.states().index_select(0, at::tensor(last).to(walk.states().device()));
  return walk.logits(states, 0, model.spec.vocab).cpu();
}

}  // namespace prentice
