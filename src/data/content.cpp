#include "data/content.h"

#include <bit>
#include <charconv>
#include <span>
#include <string>

#include "io/sha256.h"

namespace prentice {

static_assert(std::endian::native == std::endian::little);

uint64_t content_of(const Sequence& sequence) {
  Sha256 hash;
  hash.update(std::as_bytes(std::span(sequence.ids)));
  hash.update(std::as_bytes(std::span(sequence.labels)));
  const std::string hex = hash.hex();
  uint64_t content = 0;
  for (int byte = 7; byte >= 0; --byte) {
    unsigned value = 0;
    std::from_chars(hex.data() + 2 * byte, hex.data() + 2 * byte + 2, value, 16);
    content = content << 8 | value;
  }
  return content;
}

}  // namespace prentice
