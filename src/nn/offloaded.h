// What recomputation keeps, in host memory from the forward pass to the backward pass. Separate from recompute.h, whose
// words every layer knows.
#pragma once

#include <optional>
#include <utility>
#include <vector>

#include "core/host_copies.h"
#include "core/tensor.h"

namespace prentice {

// Kept one after the other, and taken once each, the last one first: each is on its way while what needs the one behind
// it is computed.
class OffloadedInputs {
 public:
  explicit OffloadedInputs(c10::Device device) : copies_(device) {}

  size_t keep(const Tensor& x);  // its index; x may be freed at once
  Tensor take(size_t index);     // on the device again

 private:
  HostCopies copies_;
  std::vector<Tensor> kept_;
  std::optional<std::pair<size_t, Tensor>> coming_;
};

}  // namespace prentice
