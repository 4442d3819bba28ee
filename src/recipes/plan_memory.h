// What a training step or a scoring pass holds of a device's memory, phase by phase. Separate from the plan, which asks
// it for several shapes until one fits.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "adapter/qat.h"
#include "config/schema.h"
#include "model/model.h"
#include "recipes/hardware.h"

namespace prentice {

// Bytes of the device that trains; on the CPU above those of the bare program (recipes/machine.h).
struct MemoryByPhase {
  int64_t load = 0, forward = 0, backward = 0, step = 0, eval = 0, save = 0, export_ = 0, verify = 0;

  std::array<std::pair<std::string_view, int64_t>, 8> phases() const;  // by name, in the order of a run
  int64_t peak() const;
  std::string_view peak_phase() const;
};

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
  bool offload = false;     // as in ForwardOptions, and the optimizer's moments
  bool accumulates = true;  // a step has micro-batches behind the first, which meet the gradients of those before

  bool full() const { return adapter && adapter->kind == AdapterKind::full; }  // the weights themselves train
};
// Of train.offload there.
inline constexpr const char* kNothingToOffload =
    "train.offload has no effect on a CPU: all that it could move is in the host's memory";

// What the model and the place decide of it; the rest is the caller's.
StepShape step_shape(const ModelSpec&, const Machine&, const Hardware&, Quantize = Quantize::none);
MemoryByPhase step_memory(const StepShape&);
// What waits in the host's memory with `offload`.
int64_t offloaded_bytes(const StepShape&);

// The micro-batches that may be chosen for a device, in tokens, the largest first.
std::span<const int64_t> micro_batches(bool gpu);

// What a verification of logits over so many tokens holds: embeddings and heads of both sides, a layer, and states
// (proof/logit_proof.h).
int64_t verification_bytes(const ModelSpec&, int64_t tokens, bool is_gpu);

// What a run that does not fit may change, from the least to the most: recomputation of the MLPs, of whole blocks, the
// smallest micro-batch, that with either, on a GPU with what can wait on the host there, and all of it with rows half
// as long, a quarter as long, ...: the first that fits into `memory_bytes`, else the last. `group` rows stand together
// (a pair: 2).
struct SmallerStep {
  StepShape shape;
  bool fits = false;
  int64_t peak_bytes = 0;
  int64_t max_length = 0;  // of a row; 0 = as long as before
};
SmallerStep smaller_step(const StepShape&, int64_t group, int64_t memory_bytes);

// The largest part of what a step of this shape holds, and its bytes.
std::pair<std::string_view, int64_t> largest_part(const StepShape&);

// Multiply-adds count twice; forward, input gradients, and weight gradients where the weights train.
double flops_per_token(const StepShape&, double mean_length);
// Of one pass without gradients.
double forward_flops_per_token(const ModelSpec&, double mean_length);

}  // namespace prentice
