// What the kernels reach of the device's bandwidth, and the device of its products: figures, one JSON object a line,
// for experiments/gpu. PRENTICE_SPEED_DEVICE=cpu runs them on small tensors of the host, to try the program itself.
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <c10/core/GradMode.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <string>
#include <vector>

#include "kernels/cuda_plugin.h"
#include "kernels/gated.h"
#include "kernels/label_losses.h"
#include "kernels/nf4.h"
#include "kernels/rms_norm.h"
#include "kernels/rope.h"

namespace prentice {
namespace {

class GpuSpeed : public testing::Test {
 protected:
  void SetUp() override {
    const char* asked = std::getenv("PRENTICE_SPEED_DEVICE");
    if (asked && std::string(asked) == "cpu") return;
    load_cuda_plugin();
    if (!cuda()) GTEST_SKIP() << cuda_absence();
    device_ = at::Device(at::kCUDA, 0);
  }

  bool on_gpu() const { return device_.is_cuda(); }
  int64_t sized(int64_t on_gpu_size) const { return on_gpu() ? on_gpu_size : std::max<int64_t>(1, on_gpu_size / 256); }
  Tensor values(at::IntArrayRef shape, at::ScalarType type = at::kBFloat16) const {
    return at::randn(shape, at::TensorOptions(at::kFloat).device(device_)).to(type);
  }
  void wait() const {
    if (on_gpu()) c10::impl::getDeviceGuardImpl(at::kCUDA)->synchronizeDevice(device_.index());
  }

  // Median seconds of a call over rounds of calls, with the inputs larger than any cache.
  double seconds(const std::function<void()>& body) const {
    const int calls = on_gpu() ? 20 : 2;
    std::vector<double> rounds;
    for (int i = 0; i < 3; ++i) body();
    for (int round = 0; round < 7; ++round) {
      wait();
      const auto begin = std::chrono::steady_clock::now();
      for (int i = 0; i < calls; ++i) body();
      wait();
      rounds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count() / calls);
    }
    std::sort(rounds.begin(), rounds.end());
    return rounds[rounds.size() / 2];
  }

  // Bytes that must be read and written at least, beside those that a copy moves in the same time.
  void report(const std::string& kernel, double bytes, const std::function<void()>& body) const {
    const double rate = bytes / seconds(body);
    std::cout << fmt::format(R"({{"speed": "{}", "bytes_per_second": {:.4g}, "share": {:.4f}}})", kernel, rate,
                             rate / copy_)
              << std::endl;
    EXPECT_GT(rate, 0);
  }

  void measure_copy() {
    const Tensor from = values({sized(1 << 14), 1 << 14}), into = at::empty_like(from);
    const double bytes = 2.0 * static_cast<double>(from.nbytes());
    copy_ = bytes / seconds([&] { into.copy_(from); });
    std::cout << fmt::format(R"({{"speed": "copy", "bytes_per_second": {:.4g}, "share": 1}})", copy_) << std::endl;
  }

  at::Device device_ = at::kCPU;
  double copy_ = 1;
};

TEST_F(GpuSpeed, TheKernelsBesideACopy) {
  measure_copy();
  const int64_t rows = sized(16384), width = 4096, wide = 14336;
  const double matrix = 2.0 * static_cast<double>(rows * width), mlp = 2.0 * static_cast<double>(rows * wide);
  const c10::NoGradGuard no_grad;
  const auto backward_of = [&](const Tensor& y, const std::vector<Tensor>& leaves, const Tensor& grad) {
    return [=] { torch::autograd::grad({y}, leaves, {grad}, /*retain_graph=*/true); };
  };
  const auto recorded = [](const std::function<Tensor()>& make) {
    const c10::AutoGradMode with_gradients(true);
    return make();
  };

  const Tensor x = values({rows, width}).set_requires_grad(true), weight = values({width});
  report("rms_norm", 2 * matrix, [&] { rms_norm(x, weight, 1e-6, 0); });
  report("rms_norm gradient", 3 * matrix,
         backward_of(recorded([&] { return rms_norm(x, weight, 1e-6, 0); }), {x}, values({rows, width})));

  const Tensor residual = values({rows, width}).set_requires_grad(true);
  report("add_rms_norm", 4 * matrix, [&] { add_rms_norm(x, residual, weight, 1e-6, 0); });
  const auto [sum, normed] = [&] {
    const c10::AutoGradMode with_gradients(true);
    return add_rms_norm(x, residual, weight, 1e-6, 0);
  }();
  const std::vector<Tensor> both = {sum, normed}, grads = {values({rows, width}), values({rows, width})};
  report("add_rms_norm gradient", 4 * matrix, [&] {
    torch::autograd::grad(both, {x, residual}, grads, /*retain_graph=*/true);
  });

  const Tensor heads = values({rows, 32, 128}).set_requires_grad(true), cosine = values({rows, 64}),
               sine = values({rows, 64});
  report("rotate", 2 * matrix, [&] { rotate(heads, cosine, sine); });
  const Tensor flat = values({rows, 32 * 128});
  report("rotate in place", 2 * matrix, [&] { rotate_in_place(flat, 32, cosine, sine); });
  report("rotate gradient", 2 * matrix,
         backward_of(recorded([&] { return rotate(heads, cosine, sine); }), {heads}, values({rows, 32, 128})));

  const Tensor gate = values({rows, wide}).set_requires_grad(true), up = values({rows, wide}).set_requires_grad(true);
  for (const auto& [kind, name] : {std::pair{Gate::silu, "silu"}, {Gate::gelu_tanh, "gelu_tanh"}}) {
    report(std::string("gated ") + name, 3 * mlp, [&, kind = kind] { gated(kind, gate, up); });
    report(std::string("gated gradient ") + name, 5 * mlp,
           backward_of(recorded([&, kind = kind] { return gated(kind, gate, up); }), {gate, up}, values({rows, wide})));
  }

  const int64_t vocab = 128256, targets = std::max<int64_t>(1, rows / 16);
  Tensor logits = values({targets, vocab}, at::kFloat);
  const Tensor labels = at::randint(vocab, {targets}, at::TensorOptions(at::kLong).device(device_));
  // Each row is read for its sum and again for its gradient, which is written.
  report("label_losses", 3.0 * static_cast<double>(logits.nbytes()), [&] { label_losses(labels, logits, true); });

  Nf4 packed = make_nf4(sized(8192), wide, true, at::TensorOptions(at::kBFloat16).device(device_));
  encode_nf4(values({sized(8192), wide}, at::kFloat).cpu(), packed);
  report("dequantized nf4", static_cast<double>(packed.codes.nbytes()) + 2.0 * static_cast<double>(sized(8192) * wide),
         [&] { dequantized(packed, at::kBFloat16); });
}

TEST_F(GpuSpeed, TheProductsOfTheDevice) {
  const c10::NoGradGuard no_grad;
  const int64_t size = on_gpu() ? 8192 : 256;
  const Tensor a = values({size, size}), b = values({size, size});
  const double flops = 2.0 * static_cast<double>(size * size * size) / seconds([&] { at::mm(a, b); });
  std::cout << fmt::format(R"({{"speed": "product bf16", "flops": {:.4g}}})", flops) << std::endl;
  EXPECT_GT(flops, 0);
}

}  // namespace
}  // namespace prentice
