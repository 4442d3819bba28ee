#include "quant/encode.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "core/error.h"
#include "core/parallel.h"
#include "io/half.h"
#include "quant/encode_blocks.h"

namespace prentice {

namespace {

template <class T>
std::span<T> grow(std::vector<std::byte>& out, size_t count) {
  const size_t start = out.size();
  out.resize(start + count * sizeof(T));
  return {reinterpret_cast<T*>(out.data() + start), count};
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

void encode(std::span<const float> values, GgmlType type, std::vector<std::byte>& out,
            std::span<const float> importance) {
  switch (type) {
    case GgmlType::F32: {
      const auto bytes = std::as_bytes(values);
      out.insert(out.end(), bytes.begin(), bytes.end());
      return;
    }
    case GgmlType::F16:
      return encode_f16(values, grow<uint16_t>(out, values.size()));
    case GgmlType::BF16:
      return f32_to_bf16(values, grow<uint16_t>(out, values.size()));
    default:
      break;
  }
  const BlockType* blocks = find_block_type(type);
  if (blocks == nullptr) fail_type(type);
  const auto& info = ggml_type_info(type);
  const auto bytes = grow<std::byte>(out, values.size() / info.block_elements * info.block_bytes);
  encode_blocks(values, *blocks, importance, bytes.data());
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
