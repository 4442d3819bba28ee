// The fused CPU loops against the same mathematics written in ATen operations.
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/cos.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/linspace.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/sin.h>

#include <cmath>
#include <functional>
#include <string>
#include <tuple>
#include <vector>

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

// The inputs of add_rms_norm: x, residual, weight.
std::vector<Tensor> to_add(int64_t width, at::ScalarType type) {
  return {random({9, width}, type), random({9, width}, type), random({width}, type)};
}

// The results and the gradients that the inputs get from `grads`, of which an undefined one is of an unused result.
std::vector<Tensor> with_gradients(const std::function<std::tuple<Tensor, Tensor>(Inputs)>& operation,
                                   std::vector<Tensor> inputs, const std::vector<Tensor>& grads) {
  for (auto& input : inputs) input = input.detach().set_requires_grad(true);
  const auto [sum, normed] = operation(inputs);
  std::vector<Tensor> used, directions;
  if (grads[0].defined()) used.push_back(sum), directions.push_back(grads[0]);
  if (grads[1].defined()) used.push_back(normed), directions.push_back(grads[1]);
  std::vector<Tensor> all = {sum.detach(), normed.detach()};
  for (const Tensor& found : torch::autograd::grad(used, inputs, directions, false, false, /*allow_unused=*/true)) {
    all.push_back(found);
  }
  return all;
}

void expect_same_bits(const std::vector<Tensor>& found, const std::vector<Tensor>& wanted, const std::string& what) {
  const char* const names[] = {"sum", "normed", "gradient of x", "gradient of residual", "gradient of weight"};
  ASSERT_EQ(found.size(), wanted.size());
  for (size_t i = 0; i < found.size(); ++i) {
    ASSERT_EQ(found[i].defined(), wanted[i].defined()) << names[i] << " " << what;
    if (!found[i].defined()) continue;
    EXPECT_EQ(found[i].scalar_type(), wanted[i].scalar_type()) << names[i] << " " << what;
    EXPECT_TRUE(at::equal(found[i], wanted[i])) << names[i] << " " << what;
  }
}

// ATen's addition, the norm, and autograd's sum of the two gradients.
std::tuple<Tensor, Tensor> in_two_steps(Inputs in, double offset) {
  const Tensor sum = in[0] + in[1];
  return {sum, rms_norm(sum, in[2], 1e-5, offset)};
}

TEST(AddRmsNorm, HasTheBitsOfTheTwoStepsWhicheverResultIsUsed) {
  for (const at::ScalarType type : {at::kDouble, at::kFloat, at::kBFloat16, at::kHalf}) {
    for (const int64_t width : {1, 7, 16, 64, 577, 2048}) {
      for (const double offset : {0.0, 1.0}) {
        const auto inputs = to_add(width, type);
        const Tensor of_sum = random({9, width}, type), of_normed = random({9, width}, type);
        for (const auto& grads : {std::vector{of_sum, of_normed}, {of_sum, Tensor()}, {Tensor(), of_normed}}) {
          expect_same_bits(
              with_gradients([&](Inputs in) { return add_rms_norm(in[0], in[1], in[2], 1e-5, offset); }, inputs, grads),
              with_gradients([&](Inputs in) { return in_two_steps(in, offset); }, inputs, grads),
              std::string(toString(type)) + " " + std::to_string(width) + " " + std::to_string(offset));
        }
      }
    }
  }
}

TEST(AddRmsNorm, EqualsTheCompositeForm) {
  for (const auto& [type, tolerance] : kTypes) {
    for (const double offset : {0.0, 1.0}) {
      const std::vector<Tensor> grads = {random({9, 65}, type), random({9, 65}, type)};
      const auto inputs = to_add(65, type);
      const auto found =
          with_gradients([&](Inputs in) { return add_rms_norm(in[0], in[1], in[2], 1e-5, offset); }, inputs, grads);
      const auto wanted = with_gradients(
          [&](Inputs in) { return add_rms_norm_composite(in[0], in[1], in[2], 1e-5, offset); }, inputs, grads);
      for (size_t i = 0; i < found.size(); ++i) EXPECT_LT(relative(found[i], wanted[i]), tolerance) << type << " " << i;
    }
  }
}

TEST(AddRmsNorm, ItsGradientsAreTheSlopesOfItsValues) {
  for (const double offset : {0.0, 1.0}) {
    const auto inputs = to_add(5, at::kDouble);
    const std::vector<Tensor> grads = {random({9, 5}, at::kDouble), random({9, 5}, at::kDouble)};
    const auto operation = [&](Inputs in) { return add_rms_norm(in[0], in[1], in[2], 0.1, offset); };
    const auto value = [&] {
      const auto [sum, normed] = operation(inputs);
      return (sum * grads[0] + normed * grads[1]).sum().item<double>();
    };
    const auto found = with_gradients(operation, inputs, grads);
    for (size_t i = 0; i < inputs.size(); ++i) {
      const Tensor flat = inputs[i].view({-1}), gradient = found[2 + i].reshape({-1});
      for (int64_t j = 0; j < flat.numel(); ++j) {
        constexpr double kStep = 1e-5;
        double& moved = flat.data_ptr<double>()[j];
        const double there = moved;
        moved = there + kStep;
        const double above = value();
        moved = there - kStep;
        const double below = value();
        moved = there;
        EXPECT_NEAR(gradient[j].item<double>(), (above - below) / (2 * kStep), 1e-7) << i << " " << j;
      }
    }
  }
}

TEST(AddRmsNorm, TakesRowsOfAnyStrideAndOneTensorTwice) {
  const auto add = [](Inputs in) { return add_rms_norm(in[0], in[1], in[2], 1e-5, 1); };
  const auto two = [](Inputs in) { return in_two_steps(in, 1); };
  const Tensor wide = random({9, 40}, at::kBFloat16), weight = random({8}, at::kBFloat16);
  const Tensor inside = wide.narrow(1, 3, 8), turned = random({8, 9}, at::kBFloat16).t(),
               repeated = random({1, 8}, at::kBFloat16).expand({9, 8}), strided = wide.slice(1, 0, 16, 2);
  for (const Tensor& x : {inside, turned, repeated, strided}) {
    for (const Tensor& residual : {inside, turned, repeated, strided}) {
      const std::vector<Tensor> grads = {turned, inside};
      expect_same_bits(with_gradients(add, {x, residual, weight}, grads),
                       with_gradients(two, {x, residual, weight}, grads), "strides");
    }
  }
  const Tensor leaf = random({9, 8}, at::kBFloat16).set_requires_grad(true), kept = leaf.detach().clone();
  const auto doubled = [&](const auto& operation) {
    const auto [sum, normed] = operation({leaf, leaf, weight});
    return torch::autograd::grad({sum, normed}, {leaf}, {inside, turned})[0];
  };
  EXPECT_TRUE(at::equal(doubled(add), doubled(two)));
  EXPECT_TRUE(at::equal(leaf, kept));
}

TEST(AddRmsNorm, GivesGradientsOnlyWhereTheyAreAskedFor) {
  const Tensor grad = random({9, 6}, at::kFloat);
  for (int asked = 1; asked < 8; ++asked) {
    const auto run = [&](const auto& operation) {
      std::vector<Tensor> inputs = {at::ones({9, 6}), at::ones({9, 6}), at::ones({6})};
      for (size_t i = 0; i < 3; ++i) inputs[i].set_requires_grad((asked >> i & 1) != 0);
      const auto [sum, normed] = operation(inputs);
      EXPECT_EQ(normed.requires_grad(), true);
      (sum * grad + normed).sum().backward();
      return std::vector<Tensor>{sum.detach(), normed.detach(), inputs[0].grad(), inputs[1].grad(), inputs[2].grad()};
    };
    expect_same_bits(run([](Inputs in) { return add_rms_norm(in[0], in[1], in[2], 1e-5, 0); }),
                     run([](Inputs in) { return in_two_steps(in, 0); }), std::to_string(asked));
  }
}

TEST(AddRmsNorm, TakesNoRowsAndMoreDimensions) {
  for (const at::DimVector& shape : {at::DimVector{0, 8}, {2, 3, 8}, {8}}) {
    const std::vector<Tensor> inputs = {random(shape, at::kFloat), random(shape, at::kFloat), random({8}, at::kFloat)};
    const std::vector<Tensor> grads = {random(shape, at::kFloat), random(shape, at::kFloat)};
    const auto found =
        with_gradients([](Inputs in) { return add_rms_norm(in[0], in[1], in[2], 1e-5, 0); }, inputs, grads);
    const auto wanted =
        with_gradients([](Inputs in) { return add_rms_norm_composite(in[0], in[1], in[2], 1e-5, 0); }, inputs, grads);
    for (size_t i = 0; i < found.size(); ++i) {
      ASSERT_EQ(found[i].sizes(), wanted[i].sizes()) << i;
      EXPECT_LT(relative(found[i], wanted[i]), 2e-6) << i;
    }
  }
}

TEST(Operations, HaveFormsForTheCpuAndForMeta) {
  using Key = c10::DispatchKey;
  for (const std::string name : {"rms_norm", "add_rms_norm", "rotate", "gated", "flash_attention"}) {
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
      {"add_rms_norm",
       [](Inputs in) { return std::get<1>(add_rms_norm(in[0], in[1], in[2], 1e-5, 0)); },
       {{9, 7}, {9, 7}, {7}}},
      {"add_rms_norm, both results",
       [](Inputs in) {
         const auto [sum, normed] = add_rms_norm(in[0], in[1], in[2], 1e-5, 0);
         return sum * normed;
       },
       {{9, 7}, {9, 7}, {7}}},
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

TEST(Rotate, InPlaceHasTheBitsOfTheOther) {
  for (const auto& [type, tolerance] : kTypes) {
    for (const int64_t half : {3, 8}) {
      const Tensor angles = at::randn({7, half}, at::kDouble), c = at::cos(angles).to(type),
                   s = at::sin(angles).to(type);
      const Tensor given = random({7, 3 * 16}, type), upstream = random({7, 3 * 16}, type);
      const Tensor leaf = given.clone().set_requires_grad(true), other = given.clone().set_requires_grad(true);
      const Tensor x = leaf * 1, found = rotate_in_place(x, 3, c, s);
      const Tensor wanted = rotate(other.unflatten(1, {3, 16}), c, s).flatten(1);
      found.backward(upstream), wanted.backward(upstream);
      EXPECT_EQ(found.const_data_ptr(), x.const_data_ptr());
      EXPECT_TRUE(at::equal(found, wanted)) << type;
      EXPECT_TRUE(at::equal(leaf.grad(), other.grad())) << type;
      // A part of a wider matrix, as q and k are of a joined product: what lies beside it stays.
      const Tensor wide = random({7, 5 * 16}, type), before = wide.clone();
      wide.narrow(1, 16, 3 * 16).copy_(given);
      rotate_in_place(wide.narrow(1, 16, 3 * 16), 3, c, s);
      EXPECT_TRUE(at::equal(wide.narrow(1, 16, 3 * 16), wanted)) << type;
      EXPECT_TRUE(at::equal(wide.narrow(1, 0, 16), before.narrow(1, 0, 16))) << type;
      EXPECT_TRUE(at::equal(wide.narrow(1, 64, 16), before.narrow(1, 64, 16))) << type;
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
