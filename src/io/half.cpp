#include "io/half.h"

#include <cassert>
#include <cstddef>

namespace prentice {

// GCC picks the clone for the machine at load time; every clone gives the same bits (integer work and exact sums).
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define PRENTICE_CLONES __attribute__((target_clones("default", "avx2")))
#else
#define PRENTICE_CLONES
#endif

PRENTICE_CLONES void f16_to_f32(std::span<const uint16_t> from, std::span<float> to) {
  assert(from.size() == to.size());
  for (size_t i = 0; i < from.size(); ++i) to[i] = f16_to_f32(from[i]);
}

PRENTICE_CLONES void f32_to_f16(std::span<const float> from, std::span<uint16_t> to) {
  assert(from.size() == to.size());
  for (size_t i = 0; i < from.size(); ++i) to[i] = f32_to_f16(from[i]);
}

PRENTICE_CLONES void bf16_to_f32(std::span<const uint16_t> from, std::span<float> to) {
  assert(from.size() == to.size());
  for (size_t i = 0; i < from.size(); ++i) to[i] = bf16_to_f32(from[i]);
}

PRENTICE_CLONES void f32_to_bf16(std::span<const float> from, std::span<uint16_t> to) {
  assert(from.size() == to.size());
  for (size_t i = 0; i < from.size(); ++i) to[i] = f32_to_bf16(from[i]);
}

}  // namespace prentice
