// One element of a move of 8-bit AdamW, as code that the CPU loop and the CUDA kernel compile. Every operation is
// rounded by itself, so that both give the same bits.
#pragma once

#include <cmath>

#include "quant/dynamic_code.h"

namespace prentice {

#ifdef __CUDA_ARCH__
__device__ __forceinline__ float times(float a, float b) { return __fmul_rn(a, b); }
__device__ __forceinline__ float plus(float a, float b) { return __fadd_rn(a, b); }
__device__ __forceinline__ float over(float a, float b) { return __fdiv_rn(a, b); }
__device__ __forceinline__ float root(float a) { return __fsqrt_rn(a); }
__device__ __forceinline__ double times(double a, double b) { return __dmul_rn(a, b); }
__device__ __forceinline__ double plus(double a, double b) { return __dadd_rn(a, b); }
#else
PRENTICE_HOST_DEVICE float times(float a, float b) { return a * b; }
PRENTICE_HOST_DEVICE float plus(float a, float b) { return a + b; }
PRENTICE_HOST_DEVICE float over(float a, float b) { return a / b; }
PRENTICE_HOST_DEVICE float root(float a) { return std::sqrt(a); }
PRENTICE_HOST_DEVICE double times(double a, double b) { return a * b; }
PRENTICE_HOST_DEVICE double plus(double a, double b) { return a + b; }
#endif

struct AdamwRates {
  float beta1, rest1, beta2, rest2, eps;  // rest: 1 - beta
};

// What changes from step to step; on the device, as f32 in this order.
struct AdamwStep {
  float rate;  // -lr / (1 - beta1^t)
  float root;  // sqrt(1 - beta2^t)
  float kept;  // 1 - lr * weight_decay
};

// The moments after the gradient g, and the weight after them.
PRENTICE_HOST_DEVICE float first_moment(const AdamwRates& by, float before, float g) {
  return plus(times(before, by.beta1), times(by.rest1, g));
}
PRENTICE_HOST_DEVICE float second_moment(const AdamwRates& by, float before, float g) {
  return plus(times(before, by.beta2), times(times(by.rest2, g), g));
}
template <class Wide>
PRENTICE_HOST_DEVICE Wide moved(const AdamwRates& by, const AdamwStep& step, Wide weight, float first, float second) {
  const float below = plus(over(root(second), step.root), by.eps);
  return plus(times(weight, static_cast<Wide>(step.kept)), static_cast<Wide>(over(times(step.rate, first), below)));
}

}  // namespace prentice
