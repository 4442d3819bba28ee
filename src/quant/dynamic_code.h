// Places in a dynamic map, as code that the CPU loop and the CUDA kernel compile.
#pragma once

#include <cstdint>

#include "core/host_device.h"

namespace prentice {

inline constexpr int64_t kDynamicBlock = 256;  // values that share a scale, the largest magnitude among them

// The place in `map` [256], ascending, whose value is nearest to x; the lower one of two as near, and 0 for NaN.
PRENTICE_HOST_DEVICE uint8_t dynamic_code(const float* map, float x) {
  int low = 0;  // the last place whose value is not above x
#ifdef __CUDA_ARCH__
#pragma unroll
#endif
  for (int step = 128; step > 0; step /= 2) low += map[low + step] <= x ? step : 0;
  const bool up = low < 255 && map[low + 1] - x < x - map[low];
  return static_cast<uint8_t>(up ? low + 1 : low);
}

}  // namespace prentice
