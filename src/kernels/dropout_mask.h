// Which features a dropout mask keeps, as code that the CPU loop and the CUDA kernel both compile, so that their bits
// are the same. core/random.h has the plain Philox; this one is inline and carries the layout of the counter.
#pragma once

#include <cstdint>

#ifdef __CUDACC__
#define PRENTICE_HOST_DEVICE __host__ __device__ __forceinline__
#else
#define PRENTICE_HOST_DEVICE inline
#endif

namespace prentice {

struct PhiloxWords {
  uint32_t word[4];
};

// Philox4x32-10 (Salmon et al. 2011).
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

// The masks of one module for one sequence in one step: 128 bits made of (step, module, sample) under the seed.
PRENTICE_HOST_DEVICE PhiloxWords dropout_stream(uint64_t seed, int64_t step, int64_t module, int64_t sample_key) {
  return philox({{static_cast<uint32_t>(step), static_cast<uint32_t>(module), static_cast<uint32_t>(sample_key),
                  static_cast<uint32_t>(static_cast<uint64_t>(sample_key) >> 32)}},
                static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32));
}

// Random words of features 4 * block to 4 * block + 3 at a position of the sequence. A feature is dropped when its word
// is below rate * 2^32.
PRENTICE_HOST_DEVICE PhiloxWords dropout_words(const PhiloxWords& stream, int64_t position, int64_t block) {
  return philox({{static_cast<uint32_t>(block), static_cast<uint32_t>(position), stream.word[0], stream.word[1]}},
                stream.word[2], stream.word[3]);
}

PRENTICE_HOST_DEVICE uint32_t dropout_threshold(double rate) { return static_cast<uint32_t>(rate * 4294967296.0); }

}  // namespace prentice
