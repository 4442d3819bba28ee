#include "quant/encode_blocks.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cassert>
#include <cmath>
#include <cstring>
#include <vector>

#include "core/error.h"
#include "core/parallel.h"
#include "io/half.h"

namespace prentice {

namespace {

// No type's step is a half then, and squares would overflow in a search before it could be seen.
constexpr float kTooLarge = 0x1p40f;

float mean_square(const float* values, int64_t n) {
  float sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += values[i] * values[i];
  return sum / static_cast<float>(n);
}

// Makes the weights of a batch.
class Weights {
 public:
  Weights(std::span<const float> values, std::span<const float> importance, const BlockType& type)
      : importance_(importance), spread_(importance.empty() ? Spread::ignored : type.spread) {
    if (spread_ != Spread::row) return;
    const auto columns = static_cast<int64_t>(importance.size());
    row_spread_.resize(values.size() / importance.size());
    at::parallel_for(0, static_cast<int64_t>(row_spread_.size()), 64, [&](int64_t first, int64_t end) {
      for (int64_t row = first; row < end; ++row)
        row_spread_[row] = mean_square(values.data() + row * columns, columns);
    });
  }

  // For `count` blocks of `elements` values from block `first` on; nullptr: none.
  const float* of(const SearchPath& path, const float* values, int64_t first, int64_t count, int64_t elements,
                  float* scratch) const {
    if (spread_ == Spread::ignored) return nullptr;
    const auto columns = static_cast<int64_t>(importance_.size());
    for (int64_t b = 0; b < count; ++b) {
      const int64_t at = (first + b) * elements;
      const float* importance = importance_.data() + at % columns;
      float* weights = scratch + b * elements;
      if (spread_ == Spread::none) {
        std::copy_n(importance, elements, weights);
        continue;
      }
      const float* block = values + b * elements;
      const float spread = spread_ == Spread::row     ? row_spread_[at / columns]
                           : spread_ == Spread::block ? mean_square(block, elements)
                                                      : 2 * mean_square(block, elements);
      path.weigh(block, importance, spread, elements, weights);
    }
    return scratch;
  }

 private:
  std::span<const float> importance_;
  Spread spread_;
  std::vector<float> row_spread_;
};

bool is_finite_f16(const std::byte* at) {
  uint16_t bits = 0;
  std::memcpy(&bits, at, sizeof bits);
  return (bits & 0x7c00) != 0x7c00;
}

bool has_finite_steps(const BlockType& type, const std::byte* block) {
  return is_finite_f16(block + type.scale_at) && (type.minimum_at < 0 || is_finite_f16(block + type.minimum_at));
}

[[noreturn]] void refuse(std::span<const float> values, std::string_view type) {
  const auto bad = std::ranges::find_if_not(values, [](float value) { return std::isfinite(value); });
  if (bad != values.end()) {
    fail(ExitCode::numerical, fmt::format("element {} is {}, which {} cannot hold", bad - values.begin(), *bad, type));
  }
  const float largest = *std::ranges::max_element(values, {}, [](float value) { return std::fabs(value); });
  fail(ExitCode::model, fmt::format("the value {} is too large for {}, whose steps are halves", largest, type),
       "export as BF16 or F32: they hold every value of this model");
}

}  // namespace

bool all_finite(std::span<const float> values) {
  std::atomic<bool> finite = true;
  parallel_pieces(static_cast<int64_t>(values.size()), 1 << 16, [&](int64_t first, int64_t end) {
    if (!all_below(values.subspan(first, end - first), HUGE_VALF)) finite = false;
  });
  return finite;
}

bool all_below(std::span<const float> values, float limit) {
  const auto limit_bits = std::bit_cast<uint32_t>(limit);
  uint32_t bad = 0;  // bits, so that the loop runs in vector registers; those of NaN are above those of infinity
  for (const float value : values) bad |= (std::bit_cast<uint32_t>(value) & 0x7fffffffu) >= limit_bits;
  return bad == 0;
}

void encode_blocks(std::span<const float> values, const BlockType& type, std::span<const float> importance,
                   std::byte* out, const SearchPath& path) {
  const auto& info = ggml_type_info(type.type);
  const int64_t elements = info.block_elements, blocks = static_cast<int64_t>(values.size()) / elements;
  assert(values.size() % elements == 0 && (importance.empty() || values.size() % importance.size() == 0));
  const int64_t batch = kBatchValues / elements;
  const Weights weights(values, importance, type);
  std::atomic<bool> finite = true;
  parallel_pieces(blocks, 4 * batch, [&](int64_t first, int64_t end) {
    alignas(64) float scratch[kBatchValues];
    for (int64_t b = first; b < end; b += batch) {
      const int64_t count = std::min(batch, end - b);
      const float* in = values.data() + b * elements;
      type.encode(path, {in, weights.of(path, in, b, count, elements, scratch), count}, out + b * info.block_bytes);
      bool good = all_below({in, static_cast<size_t>(count * elements)}, kTooLarge);
      for (int64_t i = b; i < b + count; ++i) good = good && has_finite_steps(type, out + i * info.block_bytes);
      if (!good) finite = false;
    }
  });
  if (!finite) refuse(values, info.name);
}

}  // namespace prentice
