// Gradients of a loss against central differences, in f64.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

namespace prentice {

// `loss` reads the leaves; up to `most` entries of each, spread over it, are moved by 1e-5 both ways. The tolerance is
// relative, and absolute for entries below 1.
inline void expect_finite_differences(const std::function<at::Tensor()>& loss, std::vector<at::Tensor> leaves,
                                      double tolerance, const std::string& what, int64_t most = 40) {
  constexpr double step = 1e-5;
  const auto gradients = torch::autograd::grad({loss()}, leaves, {}, {}, false, /*allow_unused=*/false);
  const c10::NoGradGuard no_grad;
  for (size_t i = 0; i < leaves.size(); ++i) {
    const at::Tensor flat = leaves[i].detach().view({-1}), gradient = gradients[i].reshape({-1});
    double* values = flat.mutable_data_ptr<double>();
    const int64_t stride = std::max<int64_t>(1, flat.numel() / most);
    for (int64_t at = 0; at < flat.numel(); at += stride) {
      const double value = values[at];
      values[at] = value + step;
      const double above = loss().item<double>();
      values[at] = value - step;
      const double below = loss().item<double>();
      values[at] = value;
      const double wanted = (above - below) / (2 * step), found = gradient[at].item<double>();
      EXPECT_NEAR(found, wanted, tolerance * std::max(1.0, std::abs(wanted))) << what << ": leaf " << i << ", " << at;
    }
  }
}

}  // namespace prentice
