// What a training step or a scoring pass holds of a device's memory, phase by phase: counts of the model and the rows
// to bytes. Separate from the plan, which asks it for several shapes until one fits.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>

#include "model/spec.h"
#include "recipes/hardware.h"

namespace prentice {

// Bytes of the device that trains; on the CPU above those of the bare program (recipes/machine.h).
struct MemoryByPhase {
  int64_t load = 0, forward = 0, backward = 0, step = 0, eval = 0, save = 0, export_ = 0;

  std::array<std::pair<std::string_view, int64_t>, 7> phases() const;  // by name, in the order of a run
  int64_t peak() const;
  std::string_view peak_phase() const;
};

// What a training step holds, as counts; bytes follow from it alone.
struct StepShape {
  ModelSpec spec;
  int64_t weight_bytes = 4;      // an element of a weight in memory
  int64_t parameters = 0;        // all weights
  int64_t trainable = 0;         // elements that train (f32, with gradient and moments)
  int64_t moments = 2;           // f32 tensors of the optimizer per trainable element
  int64_t adapter_rank_sum = 0;  // sum over adapted modules of their rank: saved products a token
  int64_t magnitude_widths = 0;  // sum over modules with a DoRA magnitude of their out features: as much a token
  int64_t adapter_frozen = 0;    // f32 elements of adapters that do not train (PiSSA's start)
  bool scaled_head = false;      // DoRA on the head: its weight is multiplied out for the loss
  int64_t micro_tokens = 0;
  int64_t longest = 0;
  bool full = false;  // the weights themselves train
  bool recompute_blocks = false;
  bool is_gpu = false;
  int64_t reference_bytes =
      0;  // of the model that a preference loss compares with, where it is not the one that trains
  bool reference_pass = false;  // every step asks it
};
// What the model and the place decide of it; the rest is the caller's.
StepShape step_shape(const ModelSpec&, const Machine&, const Hardware&);
MemoryByPhase step_memory(const StepShape&);

// The micro-batches that may be chosen for a device, in tokens, the largest first.
std::span<const int64_t> micro_batches(bool gpu);

// What a run that does not fit may change, from the least to the most: recomputation, the smallest micro-batch, both,
// and both with rows half as long, a quarter as long, ...: the first that fits into `memory_bytes`, else the last.
// `group` rows stand together (a pair: 2).
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

}  // namespace prentice
