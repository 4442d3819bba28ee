// Turning one pair of features, as code that the CPU loop and the CUDA kernel both compile.
#pragma once

#include "core/host_device.h"

namespace prentice {

// (low, high) turned by the angle of `cosine` and `sine`; `direction` -1 turns back.
template <class T, class W>
PRENTICE_HOST_DEVICE void turn_pair(T low, T high, T cosine, T sine, W direction, T& new_low, T& new_high) {
  const W c = static_cast<W>(cosine), s = direction * static_cast<W>(sine);
  const W a = static_cast<W>(low), b = static_cast<W>(high);
  new_low = static_cast<T>(a * c - b * s);
  new_high = static_cast<T>(b * c + a * s);
}

}  // namespace prentice
