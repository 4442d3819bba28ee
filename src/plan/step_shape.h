// What a training step or a scoring pass is made of: shapes and words, from which its memory, its time and its
// rehearsal follow.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "adapter/qat.h"
#include "config/schema.h"
#include "model/model.h"
#include "plan/hardware.h"

namespace prentice {

// A model that is asked without gradients beside the one that trains: the reference of a preference loss, a teacher.
struct AskedModel {
  enum class Place { with_model, host, elsewhere };  // on the device that trains, the CPU beside a GPU, another GPU

  ModelSpec spec;
  Place place = Place::with_model;
  c10::ScalarType dtype = c10::kFloat;
  Quantize quantize = Quantize::none;
  int64_t bytes = 0;                    // of weights that it does not share with the model that trains
  bool every_step = true;               // else its answers are known before the first step
  std::optional<DistillSection> teach;  // of a teacher: what its answers are compared by

  bool here() const { return place == Place::with_model; }
};

// What a step's loss reads of the model.
enum class StepLoss {
  labels,         // the labels' cross-entropy
  answers,        // the log-probability of each answer
  scores,         // a score head's
  distributions,  // the whole vocabulary's, beside a second one's
};

Recomputed recomputed(Recompute);  // the same in the words of the network
Recompute recompute_word(Recomputed);

// What a training step or a scoring pass is made of; bytes follow from it alone.
struct StepShape {
  ModelSpec spec;
  c10::ScalarType dtype = c10::kFloat;  // of a weight in memory
  Quantize quantize = Quantize::none;
  bool is_gpu = false;
  int64_t parameters = 0;  // all weights

  std::optional<AdapterSection> adapter;  // what trains; nothing does in a scoring pass
  ServedTypes served;                     // of a run with adapter.qat
  int64_t trainable = 0;                  // elements that train (f32, with gradient and moments)
  OptimizerName optimizer = OptimizerName::adamw;
  double beta1 = 0.9;       // SGD without it keeps no moment
  int64_t state_bytes = 0;  // of the optimizer
  StepLoss loss = StepLoss::labels;
  std::optional<AskedModel> asked;

  int64_t micro_tokens = 0;
  int64_t labelled = 0;  // rows of a micro-batch that have a label and reach the head; 0 = every one
  int64_t longest = 0;
  std::vector<int64_t> starts;  // of a micro-batch's rows and its end, where they are known; else rows of `longest`
  int64_t eval_tokens = 0, eval_labelled = 0;  // of the largest scoring pass beside training; 0 = as in training
  Recomputed recomputed = Recomputed::nothing;
  bool offload = false;     // as in ForwardOptions, the optimizer's moments, and host_ends()
  bool accumulates = true;  // a step has micro-batches behind the first, which meet the gradients of those before

  bool full() const { return adapter && adapter->kind == AdapterKind::full; }  // the weights themselves train
  HostEnds host_ends() const;                                                  // those that wait with `offload`
};
// Of train.offload there.
inline constexpr const char* kNothingToOffload =
    "train.offload has no effect on a CPU: all that it could move is in the host's memory";

// What the model and the place decide of it; the rest is the caller's.
StepShape step_shape(const ModelSpec&, const Machine&, const Hardware&, Quantize = Quantize::none);

}  // namespace prentice
