#include "quant/dynamic_map.h"

#include <ATen/ops/empty.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>

#include "quant/nf4.h"

namespace prentice {

namespace {

constexpr int kExponents = 7;

// Bound k of `count` equal steps from 0.1 to 1: torch.linspace on a processor with fused multiply-adds. Without them
// torch's own differs in the last place, and with it a map's values.
float bound(int64_t k, int64_t count) {
  constexpr float kLow = 0.1F, kHigh = 1;
  const double step = (kHigh - kLow) / static_cast<float>(count);
  return static_cast<float>(k < (count + 1) / 2 ? kLow + step * static_cast<double>(k)
                                                : kHigh - step * static_cast<double>(count - k));
}

// For the exponent 10^(i - 6) the middles of equal steps from 0.1 to 1: 2^i of them with both signs, or 2^(i + 1).
Tensor dynamic_map(bool with_sign) {
  const c10::NoGradGuard no_grad;
  Tensor map = at::empty({256}, at::kFloat);
  float* value = map.mutable_data_ptr<float>();
  for (int i = 0; i < kExponents; ++i) {
    const int64_t fractions = int64_t{1} << (with_sign ? i : i + 1);
    const auto power = static_cast<float>(std::pow(10.0, i - (kExponents - 1)));
    for (int64_t k = 0; k < fractions; ++k) {
      const float middle = (bound(k, fractions) + bound(k + 1, fractions)) / 2.0F;
      *value++ = power * middle;
      if (with_sign) *value++ = -(power * middle);
    }
  }
  *value++ = 0;
  *value++ = 1;
  std::sort(map.mutable_data_ptr<float>(), value);
  return map;
}

}  // namespace

const Tensor& signed_dynamic_map() {
  static const Tensor map = dynamic_map(true);
  return map;
}

const Tensor& unsigned_dynamic_map() {
  static const Tensor map = dynamic_map(false);
  return map;
}

const Tensor& nf4_scale_map() { return signed_dynamic_map(); }

}  // namespace prentice
