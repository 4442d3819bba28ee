// f32 <-> f16 and bf16 on raw bits, rounding to nearest even. Loops without branches, so that the compiler vectorises.
#pragma once

#include <bit>
#include <cstdint>
#include <span>

namespace prentice {

inline float f16_to_f32(uint16_t half) {
  const uint32_t magnitude = uint32_t{half & 0x7fffu} << 13;
  const uint32_t exponent = magnitude & (0x7c00u << 13);
  const uint32_t rebased = magnitude + ((127u - 15u) << 23);
  const uint32_t special = rebased + ((128u - 16u) << 23);  // infinities and NaNs
  const uint32_t tiny =
      std::bit_cast<uint32_t>(std::bit_cast<float>(rebased + (1u << 23)) - std::bit_cast<float>(uint32_t{113u << 23}));
  const uint32_t bits = exponent == (0x7c00u << 13) ? special : exponent == 0 ? tiny : rebased;
  return std::bit_cast<float>(bits | (uint32_t{half & 0x8000u} << 16));
}

// Magnitudes from 65520 up become infinity; every NaN becomes the quiet one with its sign.
inline uint16_t f32_to_f16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = (bits >> 16) & 0x8000u;
  const uint32_t magnitude = bits & 0x7fffffffu;
  const uint32_t special = magnitude > 0x7f800000u ? 0x7e00u : 0x7c00u;
  // Adding 0.5 lines the f16 subnormal's last bit up with the f32's: the addition itself rounds to nearest even.
  const uint32_t tiny = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) + 0.5f) - 0x3f000000u;
  const uint32_t rounded = (magnitude + 0xc8000fffu + ((magnitude >> 13) & 1u)) >> 13;
  const uint32_t half = magnitude >= 0x47800000u ? special : magnitude < 0x38800000u ? tiny : rounded;
  return static_cast<uint16_t>(half | sign);
}

inline float bf16_to_f32(uint16_t value) { return std::bit_cast<float>(uint32_t{value} << 16); }

inline uint16_t f32_to_bf16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  return static_cast<uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? 0x7fc0u : rounded);
}

// Element by element; both spans have the same length.
void f16_to_f32(std::span<const uint16_t> from, std::span<float> to);
void f32_to_f16(std::span<const float> from, std::span<uint16_t> to);
void bf16_to_f32(std::span<const uint16_t> from, std::span<float> to);
void f32_to_bf16(std::span<const float> from, std::span<uint16_t> to);

}  // namespace prentice
