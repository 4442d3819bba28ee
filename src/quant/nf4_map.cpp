#include <ATen/ops/empty.h>
#include <ATen/ops/linspace.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>

#include "quant/nf4.h"

namespace prentice {

namespace {

constexpr int kExponents = 7;

// 2^i fractions for the exponent 10^(i - 6), each with both signs: the middles of equal steps from 0.1 to 1.
Tensor dynamic_map() {
  const c10::NoGradGuard no_grad;
  Tensor map = at::empty({256}, at::kFloat);
  float* value = map.mutable_data_ptr<float>();
  for (int i = 0; i < kExponents; ++i) {
    const int64_t fractions = int64_t{1} << i;
    const Tensor bounds = at::linspace(0.1, 1, fractions + 1, at::TensorOptions(at::kFloat));
    const float* bound = bounds.const_data_ptr<float>();
    const auto power = static_cast<float>(std::pow(10.0, i - (kExponents - 1)));
    for (int64_t k = 0; k < fractions; ++k) {
      const float middle = (bound[k] + bound[k + 1]) / 2.0f;
      *value++ = power * middle;
      *value++ = -(power * middle);
    }
  }
  *value++ = 0;
  *value++ = 1;
  std::sort(map.mutable_data_ptr<float>(), value);
  return map;
}

}  // namespace

const Tensor& nf4_scale_map() {
  static const Tensor map = dynamic_map();
  return map;
}

}  // namespace prentice
