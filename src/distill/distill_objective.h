// What a distillation makes of a batch: the teacher's view of it first, then the student's share of the loss. Separate
// from the program because each way of comparing has its own pair of passes.
#pragma once

#include <optional>

#include "distill/distill_states.h"
#include "distill/teacher.h"
#include "objective/distill.h"

namespace prentice {

class Distillation {
 public:
  // Loads the teacher, where it is a model: of a store the batches bring what it said. `opened` is what `student` was
  // loaded from; `student` and `forward` must outlive this and may change. Errors: those of load_weights.
  Distillation(const DistillRecipe&, const Opened& opened, Teacher teacher, const Model& student,
               const ForwardOptions& forward);

  // What trains beside the student: projections of its hidden states.
  NamedTensors learned() const;
  // loss = weight * distance to the teacher + (1 - weight) * cross-entropy; of answers that the student has sampled the
  // distance alone. Metrics: divergence or hidden, and cross_entropy, of given labels alone.
  Tensor share(const Batch&, const Counts&, Metrics&) const;

 private:
  Tensor live_share(const Batch&, const Counts&, Metrics&) const;
  Tensor states_share(const Batch&, const Counts&, Metrics&) const;
  Tensor retold_share(const Batch&, const Counts&, Metrics&) const;
  Tensor stored_share(const Batch&, const Counts&, Metrics&) const;
  double weight_for(const Batch&) const;  // of the distance
  DistillOptions options_for(const Batch&) const;
  Batch at_teacher(const Batch&) const;

  const DistillSection section_;
  const Model& student_;
  const ForwardOptions& forward_;
  int64_t vocab_, teacher_vocab_ = 0;
  std::optional<Model> teacher_;
  std::optional<StateMatch> states_;
};

}  // namespace prentice
