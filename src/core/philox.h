// Philox4x32-10 (Salmon, Moraes, Dror, Shaw 2011) as code that the host and a CUDA kernel both compile, so that their
// bits are the same. core/random.h is what host code calls.
#pragma once

#include <cstdint>

#include "core/host_device.h"

namespace prentice {

struct PhiloxWords {
  uint32_t word[4];
};

// The ten-round bijection of the paper's section 3.3; multipliers of its table 2, Weyl steps golden ratio and
// sqrt(3) - 1.
PRENTICE_HOST_DEVICE PhiloxWords philox(PhiloxWords counter, uint32_t key0, uint32_t key1) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = uint64_t{0xD2511F53} * counter.word[0];
    const uint64_t product1 = uint64_t{0xCD9E8D57} * counter.word[2];
    counter = {{static_cast<uint32_t>(product1 >> 32) ^ counter.word[1] ^ key0, static_cast<uint32_t>(product1),
                static_cast<uint32_t>(product0 >> 32) ^ counter.word[3] ^ key1, static_cast<uint32_t>(product0)}};
    key0 += 0x9E3779B9;
    key1 += 0xBB67AE85;
  }
  return counter;
}

}  // namespace prentice
