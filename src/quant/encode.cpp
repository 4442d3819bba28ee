#include "quant/encode.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstring>
#include <memory>
#include <utility>

#include "core/error.h"
#include "core/parallel.h"
#include "io/half.h"
#include "quant/encode_blocks.h"

namespace prentice {

namespace {

constexpr int64_t kSliceValues = int64_t{1} << 16;  // in f32 they stay in a core's own cache

std::span<uint16_t> as_halves(std::span<std::byte> out) {
  return {reinterpret_cast<uint16_t*>(out.data()), out.size() / sizeof(uint16_t)};
}

// work(first, count) over all cores.
template <class Work>
void in_slices(size_t elements, Work&& work) {
  parallel_pieces(static_cast<int64_t>(elements), 1 << 14, [&](int64_t first, int64_t end) {
    work(static_cast<size_t>(first), static_cast<size_t>(end - first));
  });
}

void encode_f16(std::span<const float> values, std::span<uint16_t> out) {
  f32_to_f16(values, out);
  for (size_t i = 0; i < values.size(); ++i) {
    if ((out[i] & 0x7fff) == 0x7c00 && std::isfinite(values[i])) {
      fail(ExitCode::model, "the value " + std::to_string(values[i]) + " is too large for F16",
           "export as BF16 or F32: they hold every value of this model");
    }
  }
}

[[noreturn]] void fail_type(GgmlType type) {
  fail(ExitCode::model, "values of the type " + std::string(ggml_type_info(type).name) + " are not in this version",
       "it reads and writes F32, F16, BF16, Q8_0, Q6_K, Q5_K, Q4_K, Q3_K, Q2_K, Q5_1, Q5_0, Q4_1 or Q4_0");
}

// How far a type's grids reach in a group of `group` values: `codes` of them over the span, and what the largest step
// of a block adds to the error of a group with a small one, whose step is a code itself.
struct Grid {
  int group;
  float codes;
  bool from_minimum;  // the span is that from the least value (or 0) to the largest; else twice the largest magnitude
  float own, block;   // errors in steps
};
Grid grid_of(GgmlType type) {
  switch (type) {
    case GgmlType::Q8_0:
      return {32, 254, false, 0.5f, 0};
    case GgmlType::Q4_0:
      return {32, 16, false, 1.0f, 0};
    case GgmlType::Q5_0:
      return {32, 32, false, 1.0f, 0};
    case GgmlType::Q4_1:
      return {32, 15, true, 0.5f, 0};
    case GgmlType::Q5_1:
      return {32, 31, true, 0.5f, 0};
    case GgmlType::Q2_K:
      return {16, 3, true, 1.0f, 0.5f};
    case GgmlType::Q3_K:
      return {16, 8, false, 1.5f, 0.5f};
    case GgmlType::Q4_K:
      return {32, 15, true, 1.5f, 0.5f};
    case GgmlType::Q5_K:
      return {32, 31, true, 2.0f, 0.5f};
    default:  // Q6_K
      return {16, 64, false, 1.5f, 0.5f};
  }
}

// The span of a group and the largest magnitude in it.
std::pair<float, float> extent(std::span<const float> values, bool from_minimum) {
  float low = 0, high = 0;
  for (const float value : values) low = std::min(low, value), high = std::max(high, value);
  const float magnitude = std::max(high, -low);
  return {from_minimum ? high - low : 2 * magnitude, magnitude};
}

void block_bounds(std::span<const float> values, GgmlType type, std::span<float> bounds, bool of_importance) {
  const Grid grid = grid_of(type);
  const auto block = static_cast<size_t>(ggml_type_info(type).block_elements);
  for (size_t start = 0; start < values.size(); start += block) {
    const auto [whole_span, whole_magnitude] = extent(values.subspan(start, block), grid.from_minimum);
    for (size_t i = start; i < start + block; i += grid.group) {
      const auto [span, magnitude] = extent(values.subspan(i, grid.group), grid.from_minimum);
      const float steps = (grid.own * span + grid.block * whole_span) / grid.codes;
      // Rounding the step to f16 moves the furthest code by 2^-11 of the span, rounding the minimum by as much of
      // itself.
      const float halves = std::max(whole_magnitude * 0x1.8p-10f, grid.codes * 0x1p-24f * 64);
      const float bound = (of_importance ? whole_magnitude : steps * 1.0001f) + halves;
      std::ranges::fill(bounds.subspan(i, grid.group), bound);
    }
  }
}

}  // namespace

size_t encoded_bytes(size_t values, GgmlType type) {
  const auto& info = ggml_type_info(type);
  return values / info.block_elements * info.block_bytes;
}

void encode(std::span<const float> values, GgmlType type, std::vector<std::byte>& out,
            std::span<const float> importance) {
  const size_t start = out.size();
  out.resize(start + encoded_bytes(values.size(), type));
  encode(values, type, std::span(out).subspan(start), importance);
}

void encode(std::span<const float> values, GgmlType type, std::span<std::byte> out, std::span<const float> importance) {
  assert(out.size() == encoded_bytes(values.size(), type));
  switch (type) {
    case GgmlType::F32:
      std::ranges::copy(std::as_bytes(values), out.begin());
      return;
    case GgmlType::F16:
      return encode_f16(values, as_halves(out));
    case GgmlType::BF16:
      return f32_to_bf16(values, as_halves(out));
    default:
      break;
  }
  const BlockType* blocks = find_block_type(type);
  if (blocks == nullptr) fail_type(type);
  encode_blocks(values, *blocks, importance, out.data());
}

void encode_rows(int64_t rows, int64_t columns, int64_t multiple, const ReadRows& read, GgmlType type,
                 std::span<std::byte> out, std::span<const float> importance) {
  const int64_t slice = multiple * std::max<int64_t>(kSliceValues / (multiple * columns), 1);
  const size_t row_bytes = encoded_bytes(columns, type);
  parallel_pieces(rows, slice, [&](int64_t first, int64_t end) {
    const auto count = static_cast<size_t>((end - first) * columns);
    const auto values = std::make_unique_for_overwrite<float[]>(count);
    read(first, end - first, {values.get(), count});
    encode({values.get(), count}, type, out.subspan(first * row_bytes, (end - first) * row_bytes), importance);
  });
}

void decode(std::span<const std::byte> bytes, GgmlType type, std::span<float> out) {
  const std::span<const uint16_t> halves(reinterpret_cast<const uint16_t*>(bytes.data()), bytes.size() / 2);
  switch (type) {
    case GgmlType::F32:
      std::memcpy(out.data(), bytes.data(), bytes.size());
      return;
    case GgmlType::F16:
      return in_slices(out.size(), [&](size_t at, size_t n) { f16_to_f32(halves.subspan(at, n), out.subspan(at, n)); });
    case GgmlType::BF16:
      return in_slices(out.size(),
                       [&](size_t at, size_t n) { bf16_to_f32(halves.subspan(at, n), out.subspan(at, n)); });
    default:
      break;
  }
  const BlockType* blocks = find_block_type(type);
  if (blocks == nullptr) fail_type(type);
  const auto& info = ggml_type_info(type);
  const auto count = static_cast<int64_t>(bytes.size()) / info.block_bytes;
  parallel_pieces(count, 1024, [&](int64_t first, int64_t end) {
    decode_blocks(*blocks, bytes.data() + first * info.block_bytes, end - first,
                  out.data() + first * info.block_elements);
  });
}

void rounding_bounds(std::span<const float> values, GgmlType type, std::span<float> bounds, bool of_importance) {
  // Half a unit in the last place, and half the smallest subnormal.
  const auto relative = [&](float share, float smallest) {
    for (size_t i = 0; i < values.size(); ++i) bounds[i] = std::max(std::fabs(values[i]) * share, smallest);
  };
  switch (type) {
    case GgmlType::F32:
      std::ranges::fill(bounds, 0.0f);
      return;
    case GgmlType::F16:
      return relative(0x1p-11f, 0x1p-25f);
    case GgmlType::BF16:
      return relative(0x1p-8f, 0x1p-134f);
    default:
      if (find_block_type(type) == nullptr) fail_type(type);
      return block_bounds(values, type, bounds, of_importance);
  }
}

DType dtype_of(GgmlType type) {
  switch (type) {
    case GgmlType::F32:
      return DType::f32;
    case GgmlType::F16:
      return DType::f16;
    case GgmlType::BF16:
      return DType::bf16;
    default:
      fail_type(type);
  }
}

GgmlType element_type(std::string_view recipe_word) {
  if (recipe_word == "f32") return GgmlType::F32;
  if (recipe_word == "f16") return GgmlType::F16;
  if (recipe_word == "bf16") return GgmlType::BF16;
  fail(ExitCode::usage, "expected f32, bf16 or f16, got \"" + std::string(recipe_word) + "\"");
}

}  // namespace prentice
