// The fused CPU loops against the same mathematics written in ATen operations.
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/cos.h>
#include <ATen/ops/linspace.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/sin.h>

#include <cmath>
#include <functional>

#include "kernels/flash_cpu.h"
#include "kernels/gated.h"
#include "kernels/gradcheck.h"
#include "kernels/rms_norm.h"
#include "kernels/rope.h"

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

TEST(Operations, HaveFormsForTheCpuAndForMeta) {
  using Key = c10::DispatchKey;
  for (const std::string name : {"rms_norm", "rotate", "gated", "flash_attention"}) {
    const auto found = c10::Dispatcher::singleton().findSchema({"prentice::" + name, ""});
    ASSERT_TRUE(found) << name;
    for (const Key key : {Key::CPU, Key::Meta, Key::AutogradCPU, Key::AutogradMeta}) {
      EXPECT_TRUE(found->hasKernelForDispatchKey(key)) << name << " " << toString(key);
    }
  }
}

// What `meta` says of results and gradients is what the CPU gives.
TEST(Operations, GiveTheShapesTypesAndStridesOfTheCpuOnMeta) {
  const std::vector<int64_t> starts = {0, 5, 9};
  struct Case {
    const char* name;
    std::function<Tensor(Inputs)> operation;
    std::vector<at::DimVector> shapes;
  };
  const Case cases[] = {
      {"rms_norm", [](Inputs in) { return rms_norm(in[0], in[1], 1e-5, 0); }, {{9, 7}, {7}}},
      {"rotate", [](Inputs in) { return rotate(in[0], in[1].detach(), in[2].detach()); }, {{9, 2, 6}, {9, 2}, {9, 2}}},
      {"gated", [](Inputs in) { return gated(Gate::gelu, in[0], in[1]); }, {{9, 7}, {9, 7}}},
      {"flash_attention",
       [&](Inputs in) { return flash_attention_cpu(in[0], in[1], in[2], starts, 0.3, 0); },
       {{9, 4, 8}, {9, 2, 8}, {9, 2, 8}}},
  };
  for (const auto& c : cases) {
    std::vector<Tensor> host, meta;
    for (const auto& shape : c.shapes) {
      host.push_back(random(shape, at::kFloat).set_requires_grad(true));
      meta.push_back(host.back().detach().to(at::kMeta).set_requires_grad(true));
    }
    std::vector<Tensor> found = {c.operation(meta)}, wanted = {c.operation(host)};
    found[0].sum().backward();
    wanted[0].sum().backward();
    for (size_t i = 0; i < host.size(); ++i) {
      ASSERT_EQ(meta[i].grad().defined(), host[i].grad().defined()) << c.name;
      if (host[i].grad().defined()) found.push_back(meta[i].grad()), wanted.push_back(host[i].grad());
    }
    for (size_t i = 0; i < found.size(); ++i) {
      EXPECT_TRUE(found[i].is_meta()) << c.name;
      EXPECT_EQ(found[i].sizes(), wanted[i].sizes()) << c.name << " " << i;
      EXPECT_EQ(found[i].strides(), wanted[i].strides()) << c.name << " " << i;
      EXPECT_EQ(found[i].scalar_type(), wanted[i].scalar_type()) << c.name << " " << i;
    }
  }
}

const Gate kGates[] = {Gate::silu, Gate::gelu, Gate::gelu_tanh};

TEST(Gated, EqualsTheCompositeForm) {
  for (const auto& [type, tolerance] : kTypes) {
    for (const int64_t width : {1, 15, 64, 333}) {
      for (const Gate kind : kGates) {
        expect_same_with_gradients([&](Inputs in) { return gated(kind, in[0], in[1]); },
                                   [&](Inputs in) { return gated_composite(kind, in[0], in[1]); },
                                   {random({6, width}, type), random({6, width}, type)}, tolerance);
      }
    }
  }
}

TEST(Gated, IsRightForAnyGate) {
  const Tensor gate = at::linspace(-120, 120, 4001, at::kFloat).view({1, 4001}), up = at::ones({1, 4001});
  for (const Gate kind : kGates) {
    const Tensor leaf = gate.detach().clone().set_requires_grad(true);
    const Tensor wide = gate.to(at::kDouble).set_requires_grad(true);
    const Tensor found = gated(kind, leaf, up), exact = gated_composite(kind, wide, up.to(at::kDouble));
    const Tensor slope = torch::autograd::grad({found.sum()}, {leaf})[0];
    const Tensor exact_slope = torch::autograd::grad({exact.sum()}, {wide})[0];
    EXPECT_LT((found - exact).abs().max().item<double>(), 1e-5);
    EXPECT_LT((slope - exact_slope).abs().max().item<double>(), 3e-6);
    if (kind == Gate::gelu_tanh) continue;  // ATen's 1 + tanh has no digits of small shares
    const Tensor error = (found.to(at::kDouble) - exact).abs() / (exact.abs() + 1e-30);
    // What x^2 / 2 loses to rounding, the far tail of the normal distribution multiplies.
    EXPECT_LT(error.masked_select(gate.abs() < (kind == Gate::silu ? 80 : 4)).max().item<double>(), 2e-6);
  }
}

TEST(Gated, TakesRowsInsideAWiderMatrix) {
  const Tensor both = random({5, 24}, at::kDouble);
  for (const Gate kind : kGates) {
    expect_same_with_gradients(
        [&](Inputs in) { return gated(kind, in[0].narrow(1, 0, 12), in[0].narrow(1, 12, 12)); },
        [&](Inputs in) { return gated_composite(kind, in[0].narrow(1, 0, 12), in[0].narrow(1, 12, 12)); }, {both},
        1e-14);
  }
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
