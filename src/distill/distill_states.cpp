#include "distill/distill_states.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "adapter/init.h"
#include "config/node.h"
#include "objective/hidden.h"

namespace prentice {

std::vector<LayerPair> layer_pairs(const DistillSection& section, int64_t student_layers, int64_t teacher_layers) {
  std::vector<LayerPair> pairs;
  for (const auto& [layer, of_teacher] : section.layer_map) pairs.push_back({*parse_integer(layer), of_teacher});
  std::ranges::sort(pairs, {}, &LayerPair::student);  // the map sorts numbers as words
  if (!pairs.empty()) return pairs;
  const int64_t count = std::min(student_layers, teacher_layers);
  for (int64_t i = 1; i <= count; ++i) {
    pairs.push_back({i * student_layers / count - 1, i * teacher_layers / count - 1});
  }
  return pairs;
}

int64_t projection_elements(const DistillSection& section, const ModelSpec& student, const ModelSpec& teacher) {
  if (student.hidden == teacher.hidden) return 0;
  const auto pairs = layer_pairs(section, student.layers, teacher.layers).size();
  return static_cast<int64_t>(pairs) * student.hidden * teacher.hidden;
}

SeenStates forward_states(const Model& model, const Batch& batch, const ForwardOptions& options,
                          const std::vector<int64_t>& layers) {
  std::vector<Tensor> behind(model.layers.size());
  const auto tap = [&](size_t index, const Tensor& states) {
    if (std::ranges::count(layers, static_cast<int64_t>(index)) > 0) behind[index] = states;
  };
  SeenStates seen{.hidden = forward_hidden(model, batch, options, tap)};
  behind.back() = seen.hidden;
  for (const int64_t layer : layers) seen.states.push_back(behind[layer]);
  return seen;
}

StateMatch::StateMatch(const DistillSection& section, const ModelSpec& student, const ModelSpec& teacher, uint64_t seed,
                       at::Device device)
    : loss_(section.loss), pairs_(layer_pairs(section, student.layers, teacher.layers)) {
  if (student.hidden == teacher.hidden) return;
  const double deviation = 1 / std::sqrt(static_cast<double>(student.hidden));
  for (const auto& pair : pairs_) {
    const std::string name = fmt::format("distill.projection.{}.{}", pair.student, pair.teacher);
    const Tensor start = device.is_meta()  // a plan: shapes are all there is
                             ? at::empty({teacher.hidden, student.hidden}, at::TensorOptions(at::kFloat).device(device))
                             : normal_matrix(teacher.hidden, student.hidden, deviation, seed, name);
    projections_.emplace_back(name, start.to(device).requires_grad_());
  }
}

std::vector<int64_t> StateMatch::student_layers() const {
  std::vector<int64_t> layers;
  for (const auto& pair : pairs_) layers.push_back(pair.student);
  return layers;
}

std::vector<int64_t> StateMatch::teacher_layers() const {
  std::vector<int64_t> layers;
  for (const auto& pair : pairs_) layers.push_back(pair.teacher);
  return layers;
}

Tensor StateMatch::share(const SeenStates& student, const SeenStates& teacher, const Batch& batch,
                         const Counts& counts) const {
  const auto of_pair = loss_ == DistillLoss::hidden_mse ? hidden_mse_share : hidden_cosine_share;
  Tensor sum;
  for (size_t i = 0; i < pairs_.size(); ++i) {
    const Tensor projection = projections_.empty() ? Tensor() : projections_[i].second;
    const Tensor share = of_pair(student.states[i], teacher.states[i], projection, batch, counts);
    sum = sum.defined() ? sum + share : share;
  }
  return sum / static_cast<double>(pairs_.size());
}

}  // namespace prentice
