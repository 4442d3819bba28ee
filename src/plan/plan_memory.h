// What a training step or a scoring pass holds of a device's memory, phase by phase. Separate from the plan, which asks
// it for several shapes until one fits.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>

#include "plan/step_shape.h"

namespace prentice {

// Bytes of the device that trains; on the CPU above those of the bare program (artifact/machine.h).
struct MemoryByPhase {
  int64_t load = 0, forward = 0, backward = 0, step = 0, eval = 0, save = 0, export_ = 0, verify = 0;

  std::array<std::pair<std::string_view, int64_t>, 8> phases() const;  // by name, in the order of a run
  int64_t peak() const;
  std::string_view peak_phase() const;
};

MemoryByPhase step_memory(const StepShape&);
// What waits in the host's memory with `offload`.
int64_t offloaded_bytes(const StepShape&);

// The micro-batches that may be chosen for a device, in tokens, the largest first.
std::span<const int64_t> micro_batches(bool gpu);

// What a verification of logits over so many tokens holds: embeddings and heads of both sides, a layer, and states
// (proof/logit_proof.h).
int64_t verification_bytes(const ModelSpec&, int64_t tokens, bool is_gpu);

// The largest part of what a step of this shape holds, and its bytes.
std::pair<std::string_view, int64_t> largest_part(const StepShape&);

// Multiply-adds count twice; forward, input gradients, and weight gradients where the weights train.
double flops_per_token(const StepShape&, double mean_length);
// Of one pass without gradients.
double forward_flops_per_token(const ModelSpec&, double mean_length);

}  // namespace prentice
