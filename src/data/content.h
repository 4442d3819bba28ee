// The identity of an example by what it is, not by where it stands: how what was computed for it elsewhere is found
// again after another split, order or limit.
#pragma once

#include <cstdint>

#include "data/sequence.h"

namespace prentice {

// The first 8 bytes, as a little-endian number, of SHA-256 over the little-endian i32 ids, then the i32 labels.
uint64_t content_of(const Sequence& sequence);

}  // namespace prentice
