#include "adapter/init.h"

#include <ATen/ops/empty.h>

#include <cmath>

#include "core/parallel.h"
#include "core/random.h"

namespace prentice {

namespace {

constexpr int64_t kGrain = 1 << 14;

template <class Value>
Tensor filled(int64_t rows, int64_t columns, const Value& value) {
  Tensor matrix = at::empty({rows, columns}, at::kFloat);
  float* data = matrix.mutable_data_ptr<float>();
  at::parallel_for(0, rows * columns, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) data[i] = static_cast<float>(value(static_cast<uint64_t>(i)));
  });
  return matrix;
}

}  // namespace

Tensor uniform_matrix(int64_t rows, int64_t columns, double bound, uint64_t seed, std::string_view name) {
  const uint64_t stream = hash_of(name);
  return filled(rows, columns,
                [&](uint64_t i) { return bound * (2 * uniform_from(random_bits(seed, stream, i)) - 1); });
}

Tensor normal_matrix(int64_t rows, int64_t columns, double deviation, uint64_t seed, std::string_view name) {
  const uint64_t stream = hash_of(name);
  return filled(rows, columns, [&](uint64_t i) {
    const double log_uniform = std::log1p(-uniform_from(random_bits(seed, stream, 2 * i)));
    const auto [radius, angle] = normal_point(log_uniform, uniform_from(random_bits(seed, stream, 2 * i + 1)));
    return deviation * radius * std::cos(angle);
  });
}

}  // namespace prentice
