#include "kernels/gguf_product.h"

#include <ATen/ops/empty.h>

#include <algorithm>

#include "core/parallel.h"
#include "core/vectorised.h"
#include "quant/blocks.h"

namespace prentice {

namespace {

constexpr int64_t kMostRows = 8;     // of x: above, a matrix product of the dequantized weight is faster
constexpr int64_t kPiece = 1024;     // values of a row that are decoded at a time: they stay in the nearest cache
constexpr int64_t kGrain = 1 << 16;  // values a thread should at least get
constexpr int64_t kWide = 16, kSums = 4;

typedef float Floats __attribute__((vector_size(4 * kWide)));

PRENTICE_VECTORISED float dot(const float* a, const float* b, int64_t count) {
  Floats sums[kSums] = {};
  int64_t at = 0;
  for (; at + kSums * kWide <= count; at += kSums * kWide) {
    for (int64_t k = 0; k < kSums; ++k) {
      Floats x, y;
      __builtin_memcpy(&x, a + at + k * kWide, sizeof x);
      __builtin_memcpy(&y, b + at + k * kWide, sizeof y);
      sums[k] += x * y;
    }
  }
  const Floats all = (sums[0] + sums[1]) + (sums[2] + sums[3]);
  float sum = 0;
  for (int64_t k = 0; k < kWide; ++k) sum += all[k];
  for (; at < count; ++at) sum += a[at] * b[at];
  return sum;
}

}  // namespace

bool worth_gguf_product(const Tensor& x, const GgufBlocks& weight) {
  return x.is_cpu() && weight.bytes.is_cpu() && x.scalar_type() == at::kFloat && x.size(0) <= kMostRows;
}

Tensor gguf_product(const Tensor& given, const GgufBlocks& weight) {
  const Tensor x = given.contiguous();
  const BlockType& type = *find_block_type(weight.block);
  const auto& info = ggml_type_info(weight.block);
  const int64_t tokens = x.size(0), columns = weight.columns, row_bytes = weight.bytes.size(1);
  const auto* in = x.const_data_ptr<float>();
  const auto* bytes = static_cast<const std::byte*>(weight.bytes.const_data_ptr());
  Tensor y = at::empty({tokens, weight.rows}, x.options());
  auto* out = y.mutable_data_ptr<float>();
  const auto one_row = [&](int64_t row) {
    alignas(64) float values[kPiece];
    float sums[kMostRows] = {};
    for (int64_t at = 0; at < columns; at += kPiece) {
      const int64_t count = std::min(kPiece, columns - at), block = at / info.block_elements;
      decode_blocks(type, bytes + row * row_bytes + block * info.block_bytes, count / info.block_elements, values);
      for (int64_t t = 0; t < tokens; ++t) sums[t] += dot(values, in + t * columns + at, count);
    }
    for (int64_t t = 0; t < tokens; ++t) out[t * weight.rows + row] = sums[t];
  };
  at::parallel_for(0, weight.rows, std::max<int64_t>(1, kGrain / std::max<int64_t>(1, columns)),
                   [&](int64_t row, int64_t end) {
                     for (; row < end; ++row) one_row(row);
                   });
  return y;
}

}  // namespace prentice
