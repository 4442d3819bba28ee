// The operations on a CUDA device against the same on the CPU.
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <functional>
#include <string>
#include <utility>

#include "kernels/adamw_8bit.h"
#include "kernels/cuda_plugin.h"
#include "kernels/dropout.h"
#include "kernels/gated.h"
#include "kernels/label_losses.h"
#include "kernels/nf4.h"
#include "kernels/rms_norm.h"
#include "kernels/rope.h"

namespace prentice {
namespace {

class GpuKernels : public testing::Test {
 protected:
  void SetUp() override {
    load_cuda_plugin();
    if (!cuda()) GTEST_SKIP() << cuda_absence();
  }
};

using Operation = std::function<Tensor(const std::vector<Tensor>&)>;

// The result of `operation` on `device` and its gradients in the direction `grad`, flat and on the host.
Tensor everything(const Operation& operation, const std::vector<Tensor>& inputs, const Tensor& grad,
                  at::Device device) {
  std::vector<Tensor> leaves;
  for (const Tensor& input : inputs) leaves.push_back(input.to(device).detach().set_requires_grad(true));
  const Tensor y = operation(leaves);
  std::vector<Tensor> parts = {y.detach().flatten().to(at::kCPU, at::kDouble)};
  for (const Tensor& found : torch::autograd::grad({y}, leaves, {grad.to(device)})) {
    parts.push_back(found.flatten().to(at::kCPU, at::kDouble));
  }
  return at::cat(parts);
}

struct GpuCase {
  std::string name;
  Operation operation;
  std::vector<Tensor> inputs;  // f64
  at::DimVector shape;         // of the result
};

// Rows that fill vectors of 16 bytes and rows that do not, short ones (heads) and long ones; inside wider matrices,
// too.
std::vector<GpuCase> fused_cases() {
  std::vector<GpuCase> cases;
  const auto values = [](at::IntArrayRef shape) { return at::randn(shape, at::kDouble); };
  for (const int64_t width : {48, 128, 577, 4096, 8200}) {
    for (const double offset : {0.0, 1.0}) {
      cases.push_back({"rms_norm " + std::to_string(width) + (offset == 0 ? "" : ", offset"),
                       [=](const auto& in) { return rms_norm(in[0], in[1], 1e-6, offset); },
                       {values({77, width}), values({width})},
                       {77, width}});
      cases.push_back({"add_rms_norm " + std::to_string(width) + (offset == 0 ? "" : ", offset"),
                       [=](const auto& in) {
                         const auto [sum, normed] = add_rms_norm(in[0], in[1], in[2], 1e-6, offset);
                         return at::cat({sum, normed}, 1);
                       },
                       {values({77, width}), values({77, width}), values({width})},
                       {77, 2 * width}});
    }
    for (const Gate gate : {Gate::silu, Gate::gelu, Gate::gelu_tanh}) {
      cases.push_back(
          {"gated " + std::to_string(width) + ", gate " + std::to_string(static_cast<int>(gate)),
           [=](const auto& in) { return gated(gate, in[0].narrow(1, 0, width), in[0].narrow(1, width, width)); },
           {values({37, 2 * width})},
           {37, width}});
    }
  }
  const std::vector<std::pair<int64_t, int64_t>> heads = {{20, 8}, {128, 64}, {80, 16}, {6, 3}};
  for (const auto& [width, half] : heads) {
    const Tensor angles = values({37, half}), cosine = angles.cos(), sine = angles.sin();
    cases.push_back({"rotate " + std::to_string(width) + ", " + std::to_string(half),
                     [=](const auto& in) {
                       const auto as = in[0].options();
                       return rotate(in[0], cosine.to(as), sine.to(as));
                     },
                     {values({37, 3, width})},
                     {37, 3, width}});
    cases.push_back({"rotate in place " + std::to_string(width) + ", " + std::to_string(half),
                     [=](const auto& in) {
                       const auto as = in[0].options();
                       return rotate_in_place(in[0] * 1, 3, cosine.to(as), sine.to(as));
                     },
                     {values({37, 3 * width})},
                     {37, 3 * width}});
  }
  return cases;
}

TEST_F(GpuKernels, FusedOperationsAndTheirGradientsEqualThoseOfTheCpu) {
  const std::vector<std::pair<at::ScalarType, double>> types = {
      {at::kDouble, 1e-12}, {at::kFloat, 2e-6}, {at::kBFloat16, 1e-2}, {at::kHalf, 2e-3}};
  for (const auto& [type, tolerance] : types) {
    for (const auto& c : fused_cases()) {
      std::vector<Tensor> inputs;
      for (const Tensor& input : c.inputs) inputs.push_back(input.to(type));
      const Tensor grad = at::randn(c.shape, at::kDouble).to(type);
      const Tensor host = everything(c.operation, inputs, grad, at::kCPU);
      const Tensor device = everything(c.operation, inputs, grad, at::kCUDA);
      EXPECT_LT(((device - host).norm() / host.norm()).item<double>(), tolerance) << c.name << " " << type;
      EXPECT_TRUE(at::equal(everything(c.operation, inputs, grad, at::kCUDA), device))
          << c.name << " again: other bits";
    }
  }
}

// So that a block computes the same whether its norm runs again in the backward pass or not.
TEST_F(GpuKernels, AnAdditionBeforeTheNormGivesTheBitsOfTheTwoSteps) {
  for (const auto type : {at::kDouble, at::kFloat, at::kBFloat16, at::kHalf}) {
    for (const int64_t width : {48, 577, 4096, 8200}) {
      for (const double offset : {0.0, 1.0}) {
        const auto values = [&](at::IntArrayRef shape) { return at::randn(shape, at::kDouble).to(type); };
        const std::vector<Tensor> inputs = {values({77, width}), values({77, width}), values({width})};
        const Tensor grad = values({77, 2 * width});
        const auto on_device = [&](bool fused) {
          return everything(
              [&](const auto& in) {
                const Tensor sum = in[0] + in[1];
                if (!fused) return at::cat({sum, rms_norm(sum, in[2], 1e-6, offset)}, 1);
                const auto [x, normed] = add_rms_norm(in[0], in[1], in[2], 1e-6, offset);
                return at::cat({x, normed}, 1);
              },
              inputs, grad, at::kCUDA);
        };
        EXPECT_TRUE(at::equal(on_device(true), on_device(false))) << type << " " << width << " " << offset;
      }
    }
  }
}

TEST_F(GpuKernels, LabelLossesAndTheirGradientsEqualThoseOfTheCpu) {
  for (const int64_t width : {3, 1000, 32001, 128256}) {
    const Tensor labels = at::randint(width, {9}, at::kLong);
    const Tensor logits = at::randn({9, width}, at::kDouble) * 5;
    for (const auto& [type, tolerance] : {std::pair{at::kDouble, 1e-12}, {at::kFloat, 3e-6}}) {
      for (const bool gradients : {false, true}) {
        Tensor host = logits.to(type, false, true), device = host.to(at::kCUDA);
        const Tensor wanted = label_losses(labels, host, gradients);
        const Tensor found = label_losses(labels.to(at::kCUDA), device, gradients).cpu();
        EXPECT_LT(((found - wanted).norm() / wanted.norm()).item<double>(), tolerance) << width;
        if (!gradients) continue;
        EXPECT_LT(((device.cpu() - host).norm() / host.norm()).item<double>(), tolerance) << width;
      }
    }
  }
}

// What the plug-in registers is what runs: without its forms the operations would be made of ATen's, unseen.
TEST_F(GpuKernels, EachFusedPassHasAFormOfTheDevices) {
  for (const char* name : {"rms_norm_forward", "rms_norm_backward", "rms_norm_weight_backward", "add_rms_norm_forward",
                           "add_rms_norm_backward", "rotate_into", "gated_forward", "gated_backward", "label_losses"}) {
    const auto found = c10::Dispatcher::singleton().findSchema({std::string("prentice::") + name, ""});
    ASSERT_TRUE(found) << name;
    EXPECT_TRUE(found->hasKernelForDispatchKey(c10::DispatchKey::CUDA)) << name;
  }
}

TEST_F(GpuKernels, DropoutGivesTheSameBitsAsTheCpu) {
  for (const auto type : {at::kFloat, at::kDouble, at::kBFloat16, at::kHalf}) {
    const at::Tensor x = at::randn({37, 45}, at::kDouble).to(type);
    DropoutKey key{.seed = 3,
                   .step = 4,
                   .module = 5,
                   .rate = 0.3,
                   .sample_key = at::tensor({int64_t{9}}),
                   .sequence_id = at::zeros({37}, at::kInt),
                   .positions = at::arange(37)};
    const at::Tensor host = apply_dropout(x, key);
    for (at::Tensor* tensor : {&key.sample_key, &key.sequence_id, &key.positions}) *tensor = tensor->to(at::kCUDA);
    EXPECT_TRUE(at::equal(apply_dropout(x.to(at::kCUDA), key).to(at::kCPU), host));
  }
}

TEST_F(GpuKernels, ADequantizedWeightHasTheBitsOfTheCpus) {
  for (const auto& [rows, columns] : {std::pair<int64_t, int64_t>{96, 320}, {33, 50}, {7, 9}, {1, 1}, {300, 77}}) {
    for (const bool nested : {false, true}) {
      const Tensor values = at::randn({rows, columns});
      Nf4 host = make_nf4(rows, columns, nested, at::TensorOptions(at::kBFloat16));
      Nf4 device = make_nf4(rows, columns, nested, at::TensorOptions(at::kBFloat16).device(at::kCUDA));
      encode_nf4(values, host), encode_nf4(values, device);
      EXPECT_EQ(host.offset, device.offset);
      for (const auto type : {at::kFloat, at::kDouble, at::kHalf, at::kBFloat16}) {
        EXPECT_TRUE(at::equal(dequantized(device, type).cpu(), dequantized(host, type)))
            << rows << " x " << columns << (nested ? ", nested, " : ", ") << type;
      }
    }
  }
}

TEST_F(GpuKernels, MovesOfAdamwIn8BitHaveTheBitsOfTheCpus) {
  const Tensor go = at::zeros({}, at::kFloat);
  for (const int64_t size : {1, 255, 256, 4096, 5000, 3'000'001}) {
    for (const auto type : {at::kFloat, at::kDouble, at::kHalf, at::kBFloat16}) {
      const Tensor host = at::randn({size}).to(type), device = host.to(at::kCUDA);
      const Moments8Bit of_host = make_moments_8bit(host), of_device = make_moments_8bit(device);
      for (int step = 1; step <= 4; ++step) {
        const Tensor gradient = at::randn({size}).mul(step == 3 ? 1e-6 : 0.1).to(type);
        const Tensor by = at::tensor({-1e-2F / static_cast<float>(step), 0.03F * static_cast<float>(step), 0.999F});
        adamw_8bit(host, gradient, of_host, by, go, {});
        adamw_8bit(device, gradient.to(at::kCUDA), of_device, by.to(at::kCUDA), go.to(at::kCUDA), {});
      }
      const Tensor before = device.clone();
      adamw_8bit(device, before, of_device, at::ones({3}, at::kCUDA), at::ones({}, at::kCUDA), {});  // skipped
      EXPECT_TRUE(at::equal(device.cpu(), host)) << size << " " << type;
      for (const auto part :
           {&Moments8Bit::first, &Moments8Bit::first_absmax, &Moments8Bit::second, &Moments8Bit::second_absmax}) {
        EXPECT_TRUE(at::equal((of_device.*part).cpu(), of_host.*part)) << size << " " << type;
      }
    }
  }
}

}  // namespace
}  // namespace prentice
