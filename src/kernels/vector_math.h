// exp() that a loop can run in vector registers; the library's call keeps it from doing so.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

namespace prentice {

// exp(x) of f32 to 2 ulp: 2^n times a polynomial in the rest (Cephes expf). Saturates at exp(-87) and exp(88); NaN
// stays.
inline float fast_exp(float x) {
  x = std::min(std::max(x, -87.0f), 88.0f);
  const float n = std::floor(x * 1.44269504f + 0.5f);
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  return p * std::bit_cast<float>((static_cast<int32_t>(n) + 127) << 23);
}
inline double fast_exp(double x) { return std::exp(x); }

}  // namespace prentice
