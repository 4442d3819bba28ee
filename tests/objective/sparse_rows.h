// The mass that a row's entries leave, by a loop over them: what tests give a teacher of which only entries are known.
#pragma once

#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>

#include "core/tensor.h"

namespace prentice {

// [N] f64, at least 0. What stands behind the count of a row is not read.
inline Tensor tail_of(const Tensor& log_probs, const Tensor& counts) {
  Tensor tails = at::empty({log_probs.size(0)}, at::kDouble);
  for (int64_t row = 0; row < tails.size(0); ++row) {
    double left = 1;
    for (int64_t i = 0; i < counts[row].item<int64_t>(); ++i) left -= std::exp(log_probs[row][i].item<double>());
    tails[row] = std::max(0.0, left);
  }
  return tails;
}

}  // namespace prentice
