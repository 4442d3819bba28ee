// Random numbers as functions of where they are used, never of a state: Philox4x32-10 (Salmon, Moraes, Dror, Shaw,
// "Parallel random numbers: as easy as 1, 2, 3", SC 2011). Separate because data order and dropout both stand on it.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace prentice {

// The ten-round bijection of the paper's section 3.3: four random words for each (counter, key).
std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key);

// 64 random bits at position `index` of stream `stream` under `seed`.
uint64_t random_bits(uint64_t seed, uint64_t stream, uint64_t index);

// Uniform in [0, 1) with 53 bits of `bits`.
double uniform_from(uint64_t bits);

// Uniform in [0, bound): the high half of bits x bound. Its bias is below bound / 2^64. `bound` must not be 0.
uint64_t bounded_from(uint64_t bits, uint64_t bound);

// FNV-1a, 64 bits: the stream or the place that a name selects. The same on every machine, which std::hash does not
// promise.
uint64_t hash_of(std::string_view text);

// Two independent normal numbers as the polar form of a point: radius * cos(angle) and radius * sin(angle) (Box and
// Muller 1958), from the logarithm of a uniform number in (0, 1] and a uniform number in [0, 1). The logarithm is the
// caller's, who knows how to take it without loss.
struct NormalPoint {
  double radius, angle;
};
NormalPoint normal_point(double log_uniform, double turn);

}  // namespace prentice
