// exp() that a loop can run in vector registers; the library's call keeps it from doing so.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace prentice {

// exp(x) of f32 to 2 ulp: 2^n times a polynomial in the rest (Cephes expf). Saturates at exp(-87) and exp(88); NaN
// stays. The nearest integer is what adding 1.5 * 2^23 leaves in the low bits: std::floor would keep GCC from vector
// registers, for it may raise what -ftrapping-math must keep.
inline float fast_exp(float x) {
  constexpr float kToInteger = 12582912.0f;
  x = x < -87.0f ? -87.0f : x;
  x = x > 88.0f ? 88.0f : x;
  const float shifted = x * 1.44269504f + kToInteger;
  const float n = shifted - kToInteger;
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  return p * std::bit_cast<float>((std::bit_cast<uint32_t>(shifted) + 127u) << 23);
}
inline double fast_exp(double x) { return std::exp(x); }

}  // namespace prentice
