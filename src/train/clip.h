// Gradients as one vector: its norm, clipping by it, and the watch for numbers that are not finite. All on the device.
#pragma once

#include <cstdint>
#include <vector>

#include "core/tensor.h"

namespace prentice {

// The gradients of `trainable`, in order; zeros where a tensor received none.
std::vector<Tensor> gradients_of(const NamedTensors& trainable);
// Forgets them, so that the next backward pass writes instead of adding.
void drop_gradients(const NamedTensors& trainable);

// Euclidean norm of all tensors taken as one vector: [] in their dtype (f32).
Tensor global_norm(const std::vector<Tensor>& tensors);

// Scales in place by min(1, max_norm / (norm + 1e-6)), as torch.nn.utils.clip_grad_norm_ does.
void clip_by_norm(const std::vector<Tensor>& gradients, const Tensor& norm, double max_norm);

// Remembers the first step whose loss or gradient was not finite; from then on skip() is 1.
class FiniteWatch {
 public:
  explicit FiniteWatch(at::Device device);
  void observe(const Tensor& loss, const Tensor& gradient_norm, int64_t step);
  const Tensor& skip() const { return skip_; }  // [] f32: what the optimizer takes
  int64_t first_bad_step() const;               // -1 = none. Waits for the device

 private:
  Tensor skip_, first_bad_;  // [] f32, [] int64
};

// Errors: `numerical` naming the tensors that hold a value that is not finite. Waits for the device.
void require_finite(const NamedTensors& tensors, int64_t step);

}  // namespace prentice
