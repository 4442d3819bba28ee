// RMSNorm of one value, as code that the CPU loops and the CUDA kernels both compile.
#pragma once

#include "core/host_device.h"

namespace prentice {

// a + b as tensors of T are added: in W, rounded once.
template <class W, class T>
PRENTICE_HOST_DEVICE T rounded_sum(T a, T b) {
  return static_cast<T>(static_cast<W>(a) + static_cast<W>(b));
}

// `scale` is 1 / rms of the row. Without offset the normalised value is rounded to T before the weight multiplies it.
template <bool kOffset, class T, class W>
PRENTICE_HOST_DEVICE T rms_normed(T x, T weight, W scale, W offset) {
  if constexpr (kOffset) return static_cast<T>(static_cast<W>(x) * scale * (offset + static_cast<W>(weight)));
  const T normed = static_cast<T>(static_cast<W>(x) * scale);
  return static_cast<T>(static_cast<W>(normed) * static_cast<W>(weight));
}

// What a value adds to g . x, with g = grad * (offset + weight).
template <class T, class W>
PRENTICE_HOST_DEVICE W rms_norm_pulled(T grad, T weight, T x, W offset) {
  return static_cast<W>(grad) * (offset + static_cast<W>(weight)) * static_cast<W>(x);
}

// scale * g - x * pull, with pull = scale^3 (g . x) / D.
template <class T, class W>
PRENTICE_HOST_DEVICE T rms_norm_gradient(T grad, T weight, T x, W scale, W offset, W pull) {
  const W g = static_cast<W>(grad) * (offset + static_cast<W>(weight));
  return static_cast<T>(scale * g - static_cast<W>(x) * pull);
}

}  // namespace prentice
