// What a teacher says about some target positions: its likeliest tokens, and the mass of all the others. The form in
// which targets leave a store and enter a loss on k+1 events.
#pragma once

#include "core/tensor.h"

namespace prentice {

// Row n has counts[n] entries; what lies past them is padding (id 0, log-probability -inf, so its mass is 0).
// The k+1 events of a row sum to 1: sum of exp(log_probs) + tail.
struct TargetRows {
  Tensor ids;        // [N, K] i64, ascending within a row
  Tensor counts;     // [N] i64, 1 to K
  Tensor log_probs;  // [N, K] f32
  Tensor tail;       // [N] f32, mass outside the entries
};

}  // namespace prentice
