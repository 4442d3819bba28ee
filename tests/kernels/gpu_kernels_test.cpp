// The operations on a CUDA device against the same on the CPU.
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <functional>

#include "kernels/adamw_8bit.h"
#include "kernels/cuda_plugin.h"
#include "kernels/dropout.h"
#include "kernels/nf4.h"
#include "kernels/rms_norm.h"
#include "kernels/rope.h"
#include "kernels/silu_mul.h"

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

TEST_F(GpuKernels, FusedOperationsAndTheirGradientsEqualThoseOfTheCpu) {
  const Tensor angles = at::randn({37, 8}, at::kDouble);
  const Tensor cosine = angles.cos(), sine = angles.sin();
  struct Case {
    const char* name;
    Operation operation;
    std::vector<Tensor> inputs;
    at::IntArrayRef shape;
  };
  const std::vector<Case> cases = {
      {"rms_norm",
       [](const auto& in) { return rms_norm(in[0], in[1], 1e-6, 0); },
       {at::randn({37, 48}, at::kDouble), at::randn({48}, at::kDouble)},
       {37, 48}},
      {"rms_norm with offset",
       [](const auto& in) { return rms_norm(in[0], in[1], 1e-6, 1); },
       {at::randn({37, 48}, at::kDouble), at::randn({48}, at::kDouble)},
       {37, 48}},
      {"rotate",
       [&](const auto& in) {
         const auto as = in[0].options();
         return rotate(in[0], cosine.to(as), sine.to(as));
       },
       {at::randn({37, 3, 20}, at::kDouble)},
       {37, 3, 20}},
      {"silu_mul",
       [](const auto& in) { return silu_mul(in[0], in[1]); },
       {at::randn({37, 48}, at::kDouble), at::randn({37, 48}, at::kDouble)},
       {37, 48}},
  };
  for (const auto& c : cases) {
    const Tensor grad = at::randn(c.shape, at::kDouble);
    const Tensor host = everything(c.operation, c.inputs, grad, at::kCPU);
    const Tensor device = everything(c.operation, c.inputs, grad, at::kCUDA);
    EXPECT_LT(((device - host).norm() / host.norm()).item<double>(), 1e-12) << c.name;
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
