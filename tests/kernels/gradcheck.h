// Comparing a fused operation with the one made of ATen's: values and every gradient, for random input.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/randn_like.h>
#include <ATen/ops/sub.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <functional>
#include <vector>

namespace prentice {

inline double relative(const at::Tensor& found, const at::Tensor& wanted) {
  const at::Tensor a = found.detach().to(at::kDouble), b = wanted.detach().to(at::kDouble);
  const double scale = at::linalg_vector_norm(b).item<double>();
  return at::linalg_vector_norm(at::sub(a, b)).item<double>() / (scale > 0 ? scale : 1);
}

using Operation = std::function<at::Tensor(const std::vector<at::Tensor>&)>;

// Both operations on equal inputs (made to require gradients), and their gradients for one random output gradient.
inline void expect_same_with_gradients(const Operation& found, const Operation& wanted, std::vector<at::Tensor> inputs,
                                       double tolerance) {
  for (auto& input : inputs) input = input.detach().clone().set_requires_grad(true);
  const at::Tensor a = found(inputs), b = wanted(inputs);
  ASSERT_EQ(a.sizes(), b.sizes());
  EXPECT_EQ(a.scalar_type(), b.scalar_type());
  EXPECT_LT(relative(a, b), tolerance);
  const at::Tensor grad = at::randn_like(a);
  const auto da = torch::autograd::grad({a}, inputs, {grad}), db = torch::autograd::grad({b}, inputs, {grad});
  for (size_t i = 0; i < inputs.size(); ++i) {
    EXPECT_EQ(da[i].scalar_type(), inputs[i].scalar_type());
    EXPECT_LT(relative(da[i], db[i]), tolerance) << "gradient of input " << i;
  }
}

}  // namespace prentice
