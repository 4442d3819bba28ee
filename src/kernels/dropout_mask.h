// Which features a dropout mask keeps, as code that the CPU loop and the CUDA kernel both compile: the layout of the
// random numbers' counter.
#pragma once

#include "core/philox.h"

namespace prentice {

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
