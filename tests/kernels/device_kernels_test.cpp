// The text of the CUDA kernels, run by an emulator on the host, against the operations' CPU forms: over types, row
// lengths that fill vectors and that do not, and rows inside wider matrices.
#include <ATen/Dispatch.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "kernels/cuda_emulator.h"
// The emulator's words come first.
#include "core/wide_type.h"
#include "kernels/aligned_rows.h"
#include "kernels/gated.h"
#include "kernels/gated_kernel.h"
#include "kernels/gradcheck.h"
#include "kernels/label_losses.h"
#include "kernels/label_losses_kernel.h"
#include "kernels/operation.h"
#include "kernels/rms_norm.h"
#include "kernels/rms_norm_kernel.h"
#include "kernels/rope.h"
#include "kernels/rope_kernel.h"

namespace prentice {
namespace {

using at::Tensor;
using emulated::launch;

struct TypeCase {
  at::ScalarType type;
  double tolerance;
};
const TypeCase kTypes[] = {{at::kDouble, 1e-14}, {at::kFloat, 1e-6}, {at::kBFloat16, 1e-2}, {at::kHalf, 2e-3}};

// Poisoned: what a kernel leaves out is seen.
Tensor unwritten(at::IntArrayRef shape, at::ScalarType type) {
  return at::full(shape, std::numeric_limits<double>::quiet_NaN(), at::TensorOptions().dtype(type));
}

// Rows of `width` inside a matrix of `width + extra` columns.
Tensor rows(int64_t count, int64_t width, int64_t extra, at::ScalarType type) {
  return at::randn({count, width + extra}, at::kDouble).to(type).narrow(1, extra, width);
}

template <class T>
bool aligned(std::initializer_list<Tensor> matrices, int64_t width) {
  bool all = true;
  for (const Tensor& m : matrices) {
    all = all && aligned_rows({{m.const_data_ptr(), m.dim() > 1 ? m.stride(0) : 0}}, width, kVector<T>);
  }
  return all;
}

// use.operator()<T>() with LibTorch's halves in place of CUDA's.
#define EACH_TYPE(type, ...) AT_DISPATCH_FLOATING_TYPES_AND2(at::kBFloat16, at::kHalf, type, "emulated", __VA_ARGS__)

// `residual` and `sum_grad` where there is an addition before the norm.
struct RmsNormInputs {
  Tensor x, weight, grad, residual, sum_grad;
};
struct RmsNormResults {
  Tensor y, scales, dx, dweight, sum;
};

const void* data_of(const Tensor& tensor) { return tensor.defined() ? tensor.const_data_ptr() : nullptr; }
int64_t stride_of(const Tensor& tensor) { return tensor.defined() ? tensor.stride(0) : 0; }

template <class T, bool kAdds, int kGroup, int kN>
void norm_in_groups(const RmsNormInputs& in, double offset, uint32_t seed, RmsNormResults& into) {
  const auto& [x, weight, grad, residual, sum_grad] = in;
  const Tensor& normed = kAdds ? into.sum : x;
  const RmsNormLaunch forward{.x = x.const_data_ptr(),
                              .weight = weight.const_data_ptr(),
                              .rows = x.size(0),
                              .width = x.size(1),
                              .x_stride = x.stride(0),
                              .eps = 1e-5,
                              .offset = offset,
                              .y = into.y.data_ptr(),
                              .scales = into.scales.data_ptr(),
                              .residual = data_of(residual),
                              .residual_stride = stride_of(residual),
                              .sum = kAdds ? into.sum.data_ptr() : nullptr};
  const RmsNormBackwardLaunch backward{.grad = grad.const_data_ptr(),
                                       .x = normed.const_data_ptr(),
                                       .weight = weight.const_data_ptr(),
                                       .scales = into.scales.const_data_ptr(),
                                       .rows = x.size(0),
                                       .width = x.size(1),
                                       .grad_stride = grad.stride(0),
                                       .x_stride = normed.stride(0),
                                       .offset = offset,
                                       .dx = into.dx.data_ptr(),
                                       .sum_grad = data_of(sum_grad),
                                       .sum_grad_stride = stride_of(sum_grad)};
  constexpr unsigned kRows = kRowThreads / kGroup;
  const emulated::Index blocks{(static_cast<unsigned>(x.size(0)) + kRows - 1) / kRows, 1};
  launch(offset == 0 ? &rms_norm_kernel<T, false, kAdds, kGroup, kN> : &rms_norm_kernel<T, true, kAdds, kGroup, kN>,
         blocks, kRowThreads, forward, seed);
  launch(&rms_norm_backward_kernel<T, kAdds, kGroup, kN>, blocks, kRowThreads, backward, seed);
}

template <class T, int kN>
void norm_weight(const Tensor& x, const Tensor& grad, int64_t slabs, uint32_t seed, RmsNormResults& into) {
  const Tensor partial = unwritten({slabs, x.size(1)}, into.scales.scalar_type());
  const RmsNormWeightLaunch given{.grad = grad.const_data_ptr(),
                                  .x = x.const_data_ptr(),
                                  .scales = into.scales.const_data_ptr(),
                                  .rows = x.size(0),
                                  .width = x.size(1),
                                  .grad_stride = grad.stride(0),
                                  .x_stride = x.stride(0),
                                  .slabs = slabs,
                                  .partial = partial.data_ptr(),
                                  .dweight = into.dweight.data_ptr()};
  const auto tiles = static_cast<unsigned>((x.size(1) / kN + 31) / 32);
  launch(&rms_norm_weight_kernel<T, kN>, {tiles, static_cast<unsigned>(slabs)}, kRowThreads, given, seed);
  launch(&rms_norm_weight_sum_kernel<DeviceWide<T>>, {static_cast<unsigned>(x.size(1) / kRowThreads + 1), 1},
         kRowThreads, given, seed);
}

template <class T, bool kAdds, int kN>
RmsNormResults norm_of(const RmsNormInputs& in, double offset, uint32_t seed) {
  const Tensor& x = in.x;
  const auto wide = wide_type(x);
  RmsNormResults made{.y = unwritten(x.sizes(), x.scalar_type()),
                      .scales = unwritten({x.size(0)}, wide),
                      .dx = unwritten(x.sizes(), x.scalar_type()),
                      .dweight = unwritten({x.size(1)}, wide),
                      .sum = unwritten(x.sizes(), x.scalar_type())};
  const int64_t vectors = x.size(1) / kN;  // as rms_norm.cu chooses, and once more where a thread keeps nothing
  if (vectors <= 16) {
    norm_in_groups<T, kAdds, 16, kN>(in, offset, seed, made);
  } else if (vectors <= 32 * kKept) {
    norm_in_groups<T, kAdds, 32, kN>(in, offset, seed, made);
  } else {
    norm_in_groups<T, kAdds, kRowThreads, kN>(in, offset, seed, made);
  }
  norm_weight<T, kN>(kAdds ? made.sum : x, in.grad, 3, seed, made);
  return made;
}

template <class T, int kN>
RmsNormResults norm(const Tensor& x, const Tensor& weight, const Tensor& grad, double offset, uint32_t seed) {
  return norm_of<T, false, kN>({x, weight, grad, Tensor(), Tensor()}, offset, seed);
}

TEST(DeviceKernels, RmsNormEqualsTheCpus) {
  int vectorised = 0, plain = 0;
  for (const auto& [type, tolerance] : kTypes) {
    for (const int64_t width : {8, 13, 128, 576, 1033}) {
      for (const int64_t extra : {3, 16}) {
        const double offset = extra == 3 ? 0 : 1;
        const Tensor x = rows(19, width, extra, type), grad = rows(19, width, 0, type);
        const Tensor weight = at::randn({width}, at::kDouble).to(type);
        RmsNormResults found;
        EACH_TYPE(type, [&] {
          const bool fits = aligned<scalar_t>({x, grad, weight}, width);
          ++(fits ? vectorised : plain);
          found = fits ? norm<scalar_t, kVector<scalar_t>>(x, weight, grad, offset, 1)
                       : norm<scalar_t, 1>(x, weight, grad, offset, 1);
        });
        const Tensor leaf = x.detach().set_requires_grad(true), w = weight.detach().set_requires_grad(true);
        const Tensor y = rms_norm(leaf, w, 1e-5, offset);
        const auto grads = torch::autograd::grad({y}, {leaf, w}, {grad});
        const std::string what =
            std::string(toString(type)) + " " + std::to_string(width) + "+" + std::to_string(extra);
        EXPECT_LT(relative(found.y, y), tolerance) << what;
        EXPECT_LT(relative(found.dx, grads[0]), tolerance) << what;
        EXPECT_LT(relative(found.dweight, grads[1]), tolerance) << what;
      }
    }
  }
  EXPECT_GT(vectorised, 8);
  EXPECT_GT(plain, 8);
}

TEST(DeviceKernels, RmsNormOfLongRowsReadsThemTwice) {
  const Tensor x = rows(2, 5000, 0, at::kFloat), grad = rows(2, 5000, 0, at::kFloat), weight = at::randn({5000});
  const RmsNormResults vectors = norm<float, 4>(x, weight, grad, 0, 1), single = norm<float, 1>(x, weight, grad, 0, 1);
  EXPECT_LT(relative(vectors.y, rms_norm(x, weight, 1e-5, 0)), 1e-6);
  EXPECT_LT(relative(single.y, vectors.y), 1e-6);
  EXPECT_LT(relative(single.dx, vectors.dx), 1e-6);
}

// The bits of the two steps, where rows fill vectors and where not: the same threads add up the squares of the sum.
TEST(DeviceKernels, AddRmsNormHasTheBitsOfAnAdditionAndTheNorm) {
  for (const auto& [type, tolerance] : kTypes) {
    for (const int64_t width : {8, 13, 576, 1033}) {
      const double offset = width % 16 == 0 || width == 13 ? 1 : 0;
      const RmsNormInputs in{.x = rows(3, width, 3, type),
                             .weight = at::randn({width}, at::kDouble).to(type),
                             .grad = rows(3, width, 0, type),
                             .residual = rows(3, width, 16, type),
                             .sum_grad = rows(3, width, 5, type)};
      const Tensor sum = in.x + in.residual;
      const std::string what = std::string(toString(type)) + " " + std::to_string(width);
      EACH_TYPE(type, [&] {
        const auto expect_the_steps = [&]<int kN>() {
          const auto dense = [](const Tensor& tensor) { return tensor.contiguous(); };
          const RmsNormResults found = norm_of<scalar_t, true, kN>(
              {dense(in.x), in.weight, in.grad, dense(in.residual), dense(in.sum_grad)}, offset, 1);
          const RmsNormResults wanted = norm<scalar_t, kN>(sum, in.weight, in.grad, offset, 1);
          EXPECT_TRUE(at::equal(found.sum, sum)) << what;
          EXPECT_TRUE(at::equal(found.y, wanted.y)) << what;
          EXPECT_TRUE(at::equal(found.scales, wanted.scales)) << what;
          EXPECT_TRUE(at::equal(found.dx, wanted.dx + in.sum_grad)) << what;
          EXPECT_TRUE(at::equal(found.dweight, wanted.dweight)) << what;
        };
        if (width % kVector<scalar_t> == 0) expect_the_steps.template operator()<kVector<scalar_t>>();
        expect_the_steps.template operator()<1>();
        const RmsNormResults inside = norm_of<scalar_t, true, 1>(in, offset, 2);
        EXPECT_TRUE(at::equal(inside.sum, sum)) << what;
        EXPECT_LT(relative(inside.y, rms_norm(sum, in.weight, 1e-5, offset)), tolerance) << what;
      });
    }
  }
}

// A barrier that is missing gives another result in another order of the threads.
TEST(DeviceKernels, TheOrderOfThreadsChangesNoBit) {
  const Tensor x = rows(5, 1200, 0, at::kFloat), grad = rows(5, 1200, 0, at::kFloat), weight = at::randn({1200});
  const RmsNormResults first = norm<float, 4>(x, weight, grad, 0, 1);
  const Tensor logits = at::randn({3, 999}), labels = at::randint(999, {3}, at::kLong);
  Tensor gradients;
  for (const uint32_t seed : {1u, 2u, 3u}) {
    const RmsNormResults again = norm<float, 4>(x, weight, grad, 0, seed);
    EXPECT_TRUE(at::equal(again.y, first.y) && at::equal(again.dx, first.dx) &&
                at::equal(again.dweight, first.dweight));
    const Tensor in_place = logits.clone(), losses = unwritten({3}, at::kFloat);
    launch(&label_losses_kernel<float, 1>, {3, 1}, kVocabThreads,
           LabelLossesLaunch{.labels = labels.const_data_ptr<int64_t>(),
                             .logits = in_place.data_ptr(),
                             .rows = 3,
                             .width = 999,
                             .gradients = true,
                             .losses = losses.data_ptr()},
           seed);
    if (!gradients.defined()) gradients = in_place;
    EXPECT_TRUE(at::equal(in_place, gradients));
  }
}

TEST(DeviceKernels, RotateEqualsTheCpus) {
  struct Shape {
    int64_t heads, width, half, extra;
  };
  for (const auto& [type, tolerance] : kTypes) {
    for (const Shape& s :
         {Shape{3, 128, 64, 0}, {3, 128, 64, 256}, {5, 20, 3, 7}, {2, 64, 16, 0}, {1, 6, 3, 1}, {9, 80, 32, 16}}) {
      const Tensor x = rows(7, s.heads * s.width, s.extra, type);
      const Tensor angles = at::randn({7, s.half}, at::kDouble);
      const Tensor cosine = angles.cos().to(type), sine = angles.sin().to(type);
      for (const auto& [direction, in_place] : {std::pair(1.0, false), {-1.0, false}, {1.0, true}}) {
        const Tensor wanted = rotate(x.unflatten(1, {s.heads, s.width}), cosine, sine * direction);
        const Tensor y = in_place ? x : unwritten({7, s.heads * s.width}, type);
        EACH_TYPE(type, [&] {
          const RopeLaunch given{.x = x.const_data_ptr(),
                                 .cosine = cosine.const_data_ptr(),
                                 .sine = sine.const_data_ptr(),
                                 .tokens = 7,
                                 .heads = s.heads,
                                 .width = s.width,
                                 .half = s.half,
                                 .x_stride = x.stride(0),
                                 .cosine_stride = s.half,
                                 .sine_stride = s.half,
                                 .direction = direction,
                                 .y = y.data_ptr(),
                                 .y_stride = y.stride(0)};
          const bool fits = s.width % kVector<scalar_t> == 0 && aligned<scalar_t>({x, cosine, sine}, s.half);
          launch(fits ? &rope_kernel<scalar_t, kVector<scalar_t>> : &rope_kernel<scalar_t, 1>, {7, 1}, 64, given);
        });
        EXPECT_LT(relative(y.unflatten(1, {s.heads, s.width}), wanted), tolerance)
            << type << " " << s.width << " " << s.half;
      }
    }
  }
}

template <class T, Gate kGate, int kN>
void gate_kernels(const Tensor& gate, const Tensor& up, const Tensor& grad, const Tensor& y, const Tensor& both) {
  const int64_t count = gate.size(0), width = gate.size(1);
  const unsigned threads = 32, parts = static_cast<unsigned>((width / kN + threads - 1) / threads);
  launch(&gated_kernel<T, kGate, kN>, {static_cast<unsigned>(count), parts}, threads,
         GatedLaunch{.gate = gate.const_data_ptr(),
                     .up = up.const_data_ptr(),
                     .rows = count,
                     .width = width,
                     .gate_stride = gate.stride(0),
                     .up_stride = up.stride(0),
                     .y = y.data_ptr()});
  launch(&gated_backward_kernel<T, kGate, kN>, {static_cast<unsigned>(count), parts}, threads,
         GatedBackwardLaunch{.grad = grad.const_data_ptr(),
                             .gate = gate.const_data_ptr(),
                             .up = up.const_data_ptr(),
                             .rows = count,
                             .width = width,
                             .grad_stride = grad.stride(0),
                             .gate_stride = gate.stride(0),
                             .up_stride = up.stride(0),
                             .both = both.data_ptr()});
}

template <Gate kGate>
void expect_gate_as_on_the_cpu(at::ScalarType type, double tolerance, int64_t width, int64_t extra) {
  const Tensor gate = rows(5, width, extra, type), up = rows(5, width, extra, type), grad = rows(5, width, 0, type);
  const Tensor y = unwritten({5, width}, type), both = unwritten({5, 2 * width}, type);
  EACH_TYPE(type, [&] {
    if (aligned<scalar_t>({gate, up, grad}, width)) {
      gate_kernels<scalar_t, kGate, kVector<scalar_t>>(gate, up, grad, y, both);
    } else {
      gate_kernels<scalar_t, kGate, 1>(gate, up, grad, y, both);
    }
  });
  const Tensor g = gate.detach().set_requires_grad(true), u = up.detach().set_requires_grad(true);
  const Tensor wanted = gated(kGate, g, u);
  const auto grads = torch::autograd::grad({wanted}, {g, u}, {grad});
  EXPECT_LT(relative(y, wanted), tolerance) << type << " " << width;
  EXPECT_LT(relative(both.narrow(1, 0, width), grads[0]), tolerance) << type << " " << width;
  EXPECT_LT(relative(both.narrow(1, width, width), grads[1]), tolerance) << type << " " << width;
}

TEST(DeviceKernels, GatedEqualsTheCpus) {
  for (const auto& [type, tolerance] : kTypes) {
    for (const int64_t width : {1, 16, 333, 520}) {
      for (const int64_t extra : {0, 5, 8}) {
        expect_gate_as_on_the_cpu<Gate::silu>(type, tolerance, width, extra);
        expect_gate_as_on_the_cpu<Gate::gelu>(type, tolerance, width, extra);
        expect_gate_as_on_the_cpu<Gate::gelu_tanh>(type, tolerance, width, extra);
      }
    }
  }
}

template <class W, int kN>
void expect_losses_as_on_the_cpu(const Tensor& logits, const Tensor& labels, bool gradients, double tolerance) {
  const Tensor in_place = logits.clone(), losses = unwritten({logits.size(0)}, logits.scalar_type());
  launch(&label_losses_kernel<W, kN>, {static_cast<unsigned>(logits.size(0)), 1}, kVocabThreads,
         LabelLossesLaunch{.labels = labels.const_data_ptr<int64_t>(),
                           .logits = in_place.data_ptr(),
                           .rows = logits.size(0),
                           .width = logits.size(1),
                           .gradients = gradients,
                           .losses = losses.data_ptr()});
  Tensor wanted_gradients = logits.clone();
  const Tensor wanted = label_losses(labels, wanted_gradients, gradients);
  EXPECT_LT(relative(losses, wanted), tolerance);
  if (gradients) {
    EXPECT_LT(relative(in_place, wanted_gradients), tolerance);
  } else {
    EXPECT_TRUE(at::equal(in_place, logits));
  }
}

TEST(DeviceKernels, LabelLossesEqualTheCpus) {
  for (const int64_t width : {3, 64, 1000, 4100}) {
    const Tensor logits = at::randn({6, width}, at::kDouble) * 5, labels = at::randint(width, {6}, at::kLong);
    logits[0][width / 2] = 300;  // far above all others: only rescaled sums stay finite
    logits[1][0] = -std::numeric_limits<double>::infinity();
    labels[1] = width - 1;
    for (const bool gradients : {false, true}) {
      expect_losses_as_on_the_cpu<double, 1>(logits, labels, gradients, 1e-14);
      expect_losses_as_on_the_cpu<float, 1>(logits.to(at::kFloat), labels, gradients, 2e-6);
      if (width % 4 == 0) {
        expect_losses_as_on_the_cpu<double, 2>(logits, labels, gradients, 1e-14);
        expect_losses_as_on_the_cpu<float, 4>(logits.to(at::kFloat), labels, gradients, 2e-6);
      }
    }
  }
}

}  // namespace
}  // namespace prentice
