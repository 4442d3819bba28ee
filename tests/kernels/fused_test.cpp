// The fused CPU loops against the same mathematics written in ATen operations.
#include <ATen/ops/cos.h>
#include <ATen/ops/linspace.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/sin.h>

#include <cmath>

#include "kernels/gradcheck.h"
#include "kernels/rms_norm.h"
#include "kernels/rope.h"
#include "kernels/silu_mul.h"

namespace prentice {
namespace {

using at::Tensor;
using Inputs = const std::vector<Tensor>&;

struct TypeCase {
  at::ScalarType type;
  double tolerance;
};
const TypeCase kTypes[] = {{at::kDouble, 1e-14}, {at::kFloat, 2e-6}, {at::kBFloat16, 2e-2}};

Tensor random(at::IntArrayRef shape, at::ScalarType type) { return at::randn(shape, at::kDouble).to(type); }

TEST(RmsNorm, EqualsTheCompositeForm) {
  for (const auto& [type, tolerance] : kTypes) {
    for (const int64_t width : {7, 16, 64, 577}) {
      for (const double offset : {0.0, 1.0}) {
        expect_same_with_gradients([&](Inputs in) { return rms_norm(in[0], in[1], 1e-5, offset); },
                                   [&](Inputs in) { return rms_norm_composite(in[0], in[1], 1e-5, offset); },
                                   {random({9, width}, type), random({width}, type)}, tolerance);
      }
    }
  }
}

TEST(RmsNorm, IsTheFormula) {
  const Tensor x = random({3, 5}, at::kDouble), w = random({5}, at::kDouble);
  EXPECT_LT(relative(rms_norm(x, w, 0.1, 0), w * x / (x * x).mean({1}, true).add(0.1).sqrt()), 1e-14);
}

TEST(RmsNorm, TakesRowsInsideAWiderMatrix) {
  const Tensor wide = random({4, 20}, at::kFloat), w = random({8}, at::kFloat);
  EXPECT_LT(
      relative(rms_norm(wide.narrow(1, 3, 8), w, 1e-6, 0), rms_norm(wide.narrow(1, 3, 8).contiguous(), w, 1e-6, 0)),
      1e-9);
}

TEST(SiluMul, EqualsTheCompositeForm) {
  for (const auto& [type, tolerance] : kTypes) {
    for (const int64_t width : {1, 15, 64, 333}) {
      expect_same_with_gradients([](Inputs in) { return silu_mul(in[0], in[1]); },
                                 [](Inputs in) { return silu_mul_composite(in[0], in[1]); },
                                 {random({6, width}, type), random({6, width}, type)}, tolerance);
    }
  }
}

TEST(SiluMul, IsRightForAnyGate) {
  const Tensor gate = at::linspace(-120, 120, 4001, at::kFloat).view({1, 4001}), up = at::ones({1, 4001});
  const Tensor exact = silu_mul_composite(gate.to(at::kDouble), up.to(at::kDouble));
  const Tensor error = (silu_mul(gate, up).to(at::kDouble) - exact).abs() / (exact.abs() + 1e-30);
  EXPECT_LT(error.masked_select(gate.abs() < 80).max().item<double>(), 5e-7);
  EXPECT_LT((silu_mul(gate, up) - exact).abs().max().item<double>(), 1e-5);
}

TEST(SiluMul, TakesRowsInsideAWiderMatrix) {
  const Tensor both = random({5, 24}, at::kDouble);
  expect_same_with_gradients(
      [](Inputs in) { return silu_mul(in[0].narrow(1, 0, 12), in[0].narrow(1, 12, 12)); },
      [](Inputs in) { return silu_mul_composite(in[0].narrow(1, 0, 12), in[0].narrow(1, 12, 12)); }, {both}, 1e-14);
}

TEST(Rotate, EqualsTheCompositeForm) {
  for (const auto& [type, tolerance] : kTypes) {
    for (const int64_t half : {1, 3, 8}) {  // of heads of 16: the rest passes through
      const Tensor angles = at::randn({7, half}, at::kDouble);
      const Tensor c = at::cos(angles).to(type), s = at::sin(angles).to(type);
      expect_same_with_gradients([&](Inputs in) { return rotate(in[0], c, s); },
                                 [&](Inputs in) { return rotate_composite(in[0], c, s); }, {random({7, 3, 16}, type)},
                                 tolerance);
    }
  }
}

TEST(Rotate, TurnsPairsByTheirAngle) {
  const Tensor x = at::ones({1, 1, 4}, at::kDouble);
  const Tensor angles = at::linspace(0.3, 0.7, 2, at::kDouble).view({1, 2});
  const Tensor y = rotate(x, at::cos(angles), at::sin(angles)).view({4});
  EXPECT_NEAR(y[0].item<double>(), std::cos(0.3) - std::sin(0.3), 1e-15);
  EXPECT_NEAR(y[2].item<double>(), std::cos(0.3) + std::sin(0.3), 1e-15);
  EXPECT_NEAR(y[1].item<double>(), std::cos(0.7) - std::sin(0.7), 1e-15);
}

}  // namespace
}  // namespace prentice
