// Gates of the feed-forward block, one value at a time, as code that the CPU loops and the CUDA kernels both compile.
#pragma once

#ifdef __CUDACC__
#include <cmath>
#else
#include "kernels/vector_math.h"
#endif

#include "core/host_device.h"

namespace prentice {

enum class Gate { silu, gelu, gelu_tanh };

// exp() of the device, or the one that runs in the host's vector registers.
template <class W>
PRENTICE_HOST_DEVICE W gate_exp(W x) {
#ifdef __CUDACC__
  return std::exp(x);
#else
  return fast_exp(x);
#endif
}

// P(Z < x) of the normal distribution: half of erfc(-x / sqrt 2).
PRENTICE_HOST_DEVICE double normal_share(double x) { return 0.5 * std::erfc(-x * 0.70710678118654752440); }
#ifdef __CUDACC__
PRENTICE_HOST_DEVICE float normal_share(float x) { return 0.5f * std::erfc(-x * 0.70710678f); }
#else
// With the approximation of erfc of Press et al. 1992 (Numerical Recipes, 6.2), whose relative error is 1.2e-7
// everywhere: a loop runs it in vector registers, which the library's call does not let it.
inline float normal_share(float x) {
  const float z = std::abs(x) * 0.70710678f, t = 1 / (1 + 0.5f * z);
  float p = 0.17087277f;
  p = p * t - 0.82215223f;
  p = p * t + 1.48851587f;
  p = p * t - 1.13520398f;
  p = p * t + 0.27886807f;
  p = p * t - 0.18628806f;
  p = p * t + 0.09678418f;
  p = p * t + 0.37409196f;
  p = p * t + 1.00002368f;
  const float tail = 0.5f * t * fast_exp(p * t - 1.26551223f - z * z);
  return x < 0 ? tail : 1 - tail;
}
#endif

// gate(x) = x * share, and its slope there.
template <class W>
struct GateValue {
  W share, slope;
};

// silu: x * sigmoid(x). gelu: x * P(Z < x). gelu_tanh: the tanh form of Hendrycks and Gimpel 2016, section 2, for
// 0.5 * (1 + tanh u) is sigmoid(2 u).
template <Gate kGate, class W>
PRENTICE_HOST_DEVICE GateValue<W> gate_value(W x) {
  if constexpr (kGate == Gate::silu) {
    const W share = 1 / (1 + gate_exp(-x));
    return {share, share * (1 + x * (1 - share))};
  } else if constexpr (kGate == Gate::gelu) {
    const W share = normal_share(x);
    return {share, share + x * gate_exp(-x * x / 2) * static_cast<W>(0.39894228040143267794)};
  } else {
    constexpr W kRoot = static_cast<W>(1.59576912160573071176);  // 2 sqrt(2 / pi)
    constexpr W kCube = static_cast<W>(0.044715);
    const W share = 1 / (1 + gate_exp(-kRoot * x * (1 + kCube * x * x)));
    return {share, share + x * share * (1 - share) * kRoot * (1 + 3 * kCube * x * x)};
  }
}

// gate(x) * up
template <Gate kGate, class T, class W>
PRENTICE_HOST_DEVICE T gated_value(T gate, T up) {
  const W x = static_cast<W>(gate);
  return static_cast<T>(x * gate_value<kGate>(x).share * static_cast<W>(up));
}

// Its gradients, from that of the result.
template <Gate kGate, class T, class W>
PRENTICE_HOST_DEVICE void gated_gradient(T grad, T gate, T up, T& dgate, T& dup) {
  const W dy = static_cast<W>(grad), x = static_cast<W>(gate);
  const GateValue<W> value = gate_value<kGate>(x);
  dgate = static_cast<T>(dy * static_cast<W>(up) * value.slope);
  dup = static_cast<T>(dy * x * value.share);
}

}  // namespace prentice
