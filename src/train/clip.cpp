#include "train/clip.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/full.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/ge.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/logical_and.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <fmt/format.h>

#include <cmath>

#include "core/error.h"

namespace prentice {

std::vector<Tensor> gradients_of(const NamedTensors& trainable) {
  std::vector<Tensor> gradients;
  gradients.reserve(trainable.size());
  for (const auto& [name, tensor] : trainable) {
    const Tensor& gradient = tensor.grad();
    gradients.push_back(gradient.defined() ? gradient : at::zeros_like(tensor.detach()));
  }
  return gradients;
}

void drop_gradients(const NamedTensors& trainable) {
  for (const auto& [name, tensor] : trainable) tensor.mutable_grad() = Tensor();
}

Tensor global_norm(const std::vector<Tensor>& tensors) {
  const at::NoGradGuard no_grad;
  return at::linalg_vector_norm(at::stack(at::_foreach_norm(tensors, 2)), 2);
}

void clip_by_norm(const std::vector<Tensor>& gradients, const Tensor& norm, double max_norm) {
  const at::NoGradGuard no_grad;
  at::_foreach_mul_(gradients, norm.add(1e-6).reciprocal().mul(max_norm).clamp_max(1.0));
}

FiniteWatch::FiniteWatch(at::Device device)
    : skip_(at::zeros({}, at::TensorOptions().device(device).dtype(at::kFloat))),
      first_bad_(at::full({}, -1, at::TensorOptions().device(device).dtype(at::kLong))) {}

void FiniteWatch::observe(const Tensor& loss, const Tensor& gradient_norm, int64_t step) {
  const at::NoGradGuard no_grad;
  const Tensor bad = at::isfinite(loss.detach().add(gradient_norm)).logical_not();
  first_bad_ = at::where(first_bad_.lt(0).logical_and(bad), at::full_like(first_bad_, step), first_bad_);
  skip_ = first_bad_.ge(0).to(at::kFloat);
}

int64_t FiniteWatch::first_bad_step() const { return first_bad_.item<int64_t>(); }

void require_finite(const NamedTensors& tensors, int64_t step) {
  const at::NoGradGuard no_grad;
  std::vector<Tensor> values;
  for (const auto& [name, tensor] : tensors) values.push_back(tensor.detach());
  if (std::isfinite(global_norm(values).item<double>())) return;
  for (size_t i = 0; i < values.size(); ++i) {
    if (at::isfinite(values[i]).all().item<bool>()) continue;
    fail(ExitCode::numerical, fmt::format("step {}: the weight {} is not finite", step, tensors[i].first),
         "lower optim.lr, or set optim.clip");
  }
}

}  // namespace prentice
