// The bytes of tensors on `meta`, counted as if they had storage: what a computation would hold, found without holding
// it. Separate because it takes the place of LibTorch's allocator for that device, which can be done once.
#pragma once

#include <cstdint>

namespace prentice {

// Of the whole process, from the first call of any of these on. Storages count in whole `kGrain` bytes, as allocators
// hand them out.
struct MetaMemory {
  static constexpr int64_t kGrain = 512;

  static int64_t live();
  static int64_t peak();      // the most that was live since the last forget_peak
  static void forget_peak();  // peak() is what is live now
};

}  // namespace prentice
