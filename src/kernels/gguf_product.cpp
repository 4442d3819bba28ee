#include "kernels/gguf_product.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <bit>
#include <numeric>
#include <vector>

#include "core/parallel.h"
#include "core/vectorised.h"
#include "quant/blocks.h"

namespace prentice {

namespace {

constexpr int64_t kMostRows = 8;     // of x: above, a matrix product of the dequantized weight is faster
constexpr int64_t kGrain = 1 << 16;  // values a thread should at least get
constexpr int64_t kWide = 16, kSums = 4;

typedef float Floats __attribute__((vector_size(4 * kWide)));
typedef int8_t Codes __attribute__((vector_size(kWide)));
typedef int16_t Shorts __attribute__((vector_size(2 * kWide)));
typedef int32_t Ints __attribute__((vector_size(4 * kWide)));

// Step by step: the compiler has an instruction for each widening, and for one over all of them none.
inline __attribute__((always_inline)) void widen(const Codes& codes, Floats& out) {
  out = __builtin_convertvector(__builtin_convertvector(__builtin_convertvector(codes, Shorts), Ints), Floats);
}

// One row of the weight times one of x, before its lanes are added up.
struct RowSums {
  Floats products[kSums] = {};
  float minimums = 0;
};

// The few rows of x beside one row of the weight.
struct Rows {
  const float* x;           // [tokens, columns]
  const float* group_sums;  // of x over the weight's groups: [tokens, columns / group]
  int64_t tokens, columns;
};

// kParts * kWide values from `first` on.
template <int64_t kParts>
inline __attribute__((always_inline)) void add_piece(const UnpackedBlocks& blocks, int64_t first, int shift,
                                                     const Rows& rows, int64_t at, RowSums* sums) {
  Floats weights[kParts];
  for (int64_t k = 0; k < kParts; ++k) {
    Codes codes;
    __builtin_memcpy(&codes, blocks.codes + first + k * kWide, sizeof codes);
    widen(codes, weights[k]);
    weights[k] *= blocks.scales[(first + k * kWide) >> shift];
  }
  for (int64_t t = 0; t < rows.tokens; ++t) {
    for (int64_t k = 0; k < kParts; ++k) {
      Floats x;
      __builtin_memcpy(&x, rows.x + t * rows.columns + at + first + k * kWide, sizeof x);
      sums[t].products[k] += weights[k] * x;
    }
  }
}

// Adds the products of `values` values of the weight, whose groups have 2^shift of them, with x from column `at` on.
// They are never written out: a group's scale multiplies its codes, and its minimum the sum of x over the group.
PRENTICE_VECTORISED void add_products(const UnpackedBlocks& blocks, int64_t values, int shift, bool has_minimum,
                                      const Rows& rows, int64_t at, RowSums* sums) {
  int64_t first = 0;
  for (; first + kSums * kWide <= values; first += kSums * kWide)
    add_piece<kSums>(blocks, first, shift, rows, at, sums);
  if (first < values) add_piece<2>(blocks, first, shift, rows, at, sums);  // blocks have 32 values at least
  if (!has_minimum) return;
  for (int64_t t = 0; t < rows.tokens; ++t) {
    const float* group_sums = rows.group_sums + ((t * rows.columns + at) >> shift);
    float sum = 0;
    for (int64_t g = 0; g < values >> shift; ++g) sum += blocks.minimums[g] * group_sums[g];
    sums[t].minimums += sum;
  }
}

float total(const RowSums& sums) {
  const Floats all = (sums.products[0] + sums.products[1]) + (sums.products[2] + sums.products[3]);
  float sum = 0;
  for (int64_t k = 0; k < kWide; ++k) sum += all[k];
  return sum - sums.minimums;
}

std::vector<float> sums_of_groups(const float* x, int64_t values, int64_t group) {
  std::vector<float> sums(static_cast<size_t>(values / group));
  for (int64_t g = 0; g < values / group; ++g) sums[g] = std::accumulate(x + g * group, x + (g + 1) * group, 0.0f);
  return sums;
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
  const auto group_sums = type.has_minimum ? sums_of_groups(in, tokens * columns, type.group) : std::vector<float>();
  const Rows rows = {in, group_sums.data(), tokens, columns};
  const int shift = std::countr_zero(static_cast<unsigned>(type.group));
  const auto one_row = [&](int64_t row) {
    UnpackedBlocks blocks;
    RowSums sums[kMostRows];
    const std::byte* from = bytes + row * row_bytes;
    for (int64_t at = 0; at < columns; at += kUnpacked) {
      const int64_t count = std::min<int64_t>(kUnpacked, columns - at) / info.block_elements;
      type.unpack(from, count, blocks);
      add_products(blocks, count * info.block_elements, shift, type.has_minimum, rows, at, sums);
      from += count * info.block_bytes;
    }
    for (int64_t t = 0; t < tokens; ++t) out[t * weight.rows + row] = total(sums[t]);
  };
  at::parallel_for(0, weight.rows, std::max<int64_t>(1, kGrain / std::max<int64_t>(1, columns)),
                   [&](int64_t row, int64_t end) {
                     for (; row < end; ++row) one_row(row);
                   });
  return y;
}

}  // namespace prentice
