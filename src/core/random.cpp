#include "core/random.h"

#include <cmath>
#include <numbers>

#include "core/philox.h"

namespace prentice {

std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
  const auto [words] = philox({{counter[0], counter[1], counter[2], counter[3]}}, key[0], key[1]);
  return {words[0], words[1], words[2], words[3]};
}

uint64_t random_bits(uint64_t seed, uint64_t stream, uint64_t index) {
  const auto words = philox4x32({static_cast<uint32_t>(index), static_cast<uint32_t>(index >> 32),
                                 static_cast<uint32_t>(stream), static_cast<uint32_t>(stream >> 32)},
                                {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
  return words[0] | uint64_t{words[1]} << 32;
}

double uniform_from(uint64_t bits) { return static_cast<double>(bits >> 11) * 0x1p-53; }

uint64_t bounded_from(uint64_t bits, uint64_t bound) {
  __extension__ using Wide = unsigned __int128;
  return static_cast<uint64_t>(static_cast<Wide>(bits) * bound >> 64);
}

uint64_t hash_of(std::string_view text) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return hash;
}

NormalPoint normal_point(double log_uniform, double turn) {
  return {std::sqrt(-2 * log_uniform), 2 * std::numbers::pi * turn};
}

}  // namespace prentice
