#include "export/encode.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstring>

#include "core/error.h"
#include "io/half.h"

namespace prentice {

namespace {

template <class T>
std::span<T> grow(std::vector<std::byte>& out, size_t count) {
  const size_t start = out.size();
  out.resize(start + count * sizeof(T));
  return {reinterpret_cast<T*>(out.data() + start), count};
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

float largest_magnitude(const float* values) {
  float largest = 0;
  for (int64_t i = 0; i < kQ8BlockElements; ++i) largest = std::max(largest, std::fabs(values[i]));
  return largest;
}

// d = amax/127, q = round half away from zero of x/d; d is stored as f16 but divides as f32 (ggml's
// quantize_row_q8_0_ref).
void encode_q8_block(const float* values, std::byte* out) {
  const float d = largest_magnitude(values) / 127.0f;
  const float inverse = d != 0.0f ? 1.0f / d : 0.0f;
  const uint16_t stored = f32_to_f16(d);
  std::memcpy(out, &stored, sizeof stored);
  auto* quants = reinterpret_cast<int8_t*>(out + sizeof stored);
  for (int64_t i = 0; i < kQ8BlockElements; ++i) {
    const float scaled = values[i] * inverse;
    const int whole = static_cast<int>(scaled);
    const float rest = scaled - static_cast<float>(whole);  // exact: both are below 128
    quants[i] = static_cast<int8_t>(whole + (rest >= 0.5f) - (rest <= -0.5f));
  }
}

void decode_q8_block(const std::byte* bytes, float* out) {
  uint16_t stored = 0;
  std::memcpy(&stored, bytes, sizeof stored);
  const float d = f16_to_f32(stored);
  const auto* quants = reinterpret_cast<const int8_t*>(bytes + sizeof stored);
  for (int64_t i = 0; i < kQ8BlockElements; ++i) out[i] = d * quants[i];
}

[[noreturn]] void fail_type(GgmlType type) {
  fail(ExitCode::usage, "export type " + std::string(ggml_type_info(type).name) + " is not in this version",
       "use F32, F16, BF16 or Q8_0");
}

}  // namespace

void encode(std::span<const float> values, GgmlType type, std::vector<std::byte>& out) {
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
    case GgmlType::Q8_0: {
      assert(values.size() % kQ8BlockElements == 0);
      const size_t blocks = values.size() / kQ8BlockElements;
      const auto bytes = grow<std::byte>(out, blocks * kQ8BlockBytes);
      for (size_t i = 0; i < blocks; ++i) {
        encode_q8_block(values.data() + i * kQ8BlockElements, bytes.data() + i * kQ8BlockBytes);
      }
      return;
    }
    default:
      fail_type(type);
  }
}

void decode(std::span<const std::byte> bytes, GgmlType type, std::span<float> out) {
  const std::span<const uint16_t> halves(reinterpret_cast<const uint16_t*>(bytes.data()), bytes.size() / 2);
  switch (type) {
    case GgmlType::F32:
      std::memcpy(out.data(), bytes.data(), bytes.size());
      return;
    case GgmlType::F16:
      return f16_to_f32(halves, out);
    case GgmlType::BF16:
      return bf16_to_f32(halves, out);
    case GgmlType::Q8_0:
      for (size_t i = 0; i < bytes.size() / kQ8BlockBytes; ++i) {
        decode_q8_block(bytes.data() + i * kQ8BlockBytes, out.data() + i * kQ8BlockElements);
      }
      return;
    default:
      fail_type(type);
  }
}

void rounding_bounds(std::span<const float> values, GgmlType type, std::span<float> bounds) {
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
    case GgmlType::Q8_0:
      for (size_t i = 0; i < values.size(); i += kQ8BlockElements) {
        // Half a step of the codes, and what rounding d to f16 moves the largest code.
        const float d = largest_magnitude(values.data() + i) / 127.0f;
        const float bound = d * 0.5f * 1.0001f + 127.0f * std::max(d * 0x1p-11f, 0x1p-25f);
        std::ranges::fill(bounds.subspan(i, kQ8BlockElements), bound);
      }
      return;
    default:
      fail_type(type);
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
