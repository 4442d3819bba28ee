// How much memory the run holds, and of how much: the device's allocator on a GPU, anonymous resident memory on the
// CPU.
#pragma once

#include <c10/core/Device.h>

#include <cstdint>

namespace prentice {

struct MemoryUse {
  uint64_t used = 0;   // bytes; on a GPU the highest since the start. 0 = unknown
  uint64_t total = 0;  // bytes of the device, or of the machine within the limit of its control group. 0 = unknown
};

MemoryUse memory_use(c10::Device device);

}  // namespace prentice
