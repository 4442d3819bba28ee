// Whether two numbers of metadata are one, of which either may have been written as f32.
#pragma once

#include <algorithm>
#include <cmath>

namespace prentice {

// Infinity is no number but itself, and NaN is none at all.
inline bool same_number(double a, double b) {
  constexpr double kApart = 1e-5;
  if (a == b) return true;
  return std::isfinite(a) && std::isfinite(b) && std::abs(a - b) <= kApart * std::max(std::abs(a), std::abs(b));
}

}  // namespace prentice
