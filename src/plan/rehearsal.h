// A training step or a scoring pass taken with the very code of a run on tensors without storage, whose bytes are
// counted (core/meta_memory.h). Separate from the plan's phases, which add what no tensor accounts for.
#pragma once

#include "plan/step_shape.h"

namespace prentice {

// Bytes of tensors on the device that trains.
struct Rehearsed {
  int64_t weights = 0;    // with the adapter
  int64_t asked = 0;      // of a second model
  int64_t learned = 0;    // what trains beside the model
  int64_t moments = 0;    // the optimizer's, where they are on this device
  int64_t paged = 0;      // the most of those that visit it in a step, where they wait on the host
  int64_t moving = 0;     // what a move of the weights makes beside them
  int64_t gradients = 0;  // from the first backward pass of a step to its end
  int64_t kept = 0;       // for the backward pass
  int64_t forward = 0;    // the most while losses are computed, all of the above included
  int64_t backward = 0;   // the most while gradients are
  int64_t eval = 0;       // the most of a scoring pass, the optimizer's moments included
  int64_t fetched = 0;    // of the head, where it waits on the host
};
Rehearsed rehearse(const StepShape&);

}  // namespace prentice
