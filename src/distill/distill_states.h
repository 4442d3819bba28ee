// Hidden states of two models against each other, layer by layer: which meets which, and what brings them to one width.
#pragma once

#include <vector>

#include "config/schema.h"
#include "core/batch.h"
#include "model/model.h"

namespace prentice {

struct LayerPair {
  int64_t student = 0, teacher = 0;
  bool operator==(const LayerPair&) const = default;
};
// distill.layer_map in the student's order, or as many pairs as the smaller model has layers, evenly spaced, the last
// on the last.
std::vector<LayerPair> layer_pairs(const DistillSection&, int64_t student_layers, int64_t teacher_layers);
// Elements of all projections: one [Dt, Ds] a pair where the widths differ, else none.
int64_t projection_elements(const DistillSection&, const ModelSpec& student, const ModelSpec& teacher);

struct SeenStates {
  Tensor hidden;               // [T, D] after the final norm
  std::vector<Tensor> states;  // [T, D] behind each layer asked for; of the last one after the final norm
};
SeenStates forward_states(const Model&, const Batch&, const ForwardOptions&, const std::vector<int64_t>& layers);

class StateMatch {
 public:
  // Projections are normal(0, 1 / Ds), a function of the seed: at the start a state keeps its length.
  StateMatch(const DistillSection&, const ModelSpec& student, const ModelSpec& teacher, uint64_t seed,
             at::Device device);

  std::vector<int64_t> student_layers() const;
  std::vector<int64_t> teacher_layers() const;
  const NamedTensors& projections() const { return projections_; }  // they train; empty where none is needed
  // The mean over pairs of the loss of objective/hidden.h: this batch's share.
  Tensor share(const SeenStates& student, const SeenStates& teacher, const Batch&, const Counts&) const;

 private:
  DistillLoss loss_;
  std::vector<LayerPair> pairs_;
  NamedTensors projections_;
};

}  // namespace prentice
