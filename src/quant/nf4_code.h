// The sixteen values of NF4 and how a block's scale is stored, as code that the CPU loop and the CUDA kernel compile.
#pragma once

#include <cstdint>

#include "core/philox.h"

namespace prentice {

inline constexpr int64_t kNf4Block = 64;      // weights that share a scale
inline constexpr int64_t kNestedBlock = 256;  // nested: scales that share one

// Quantiles of the standard normal distribution, 0 among them (Dettmers et al. 2023, appendix E).
inline constexpr float kNf4Values[16] = {-1.0f,
                                         -0.6961928009986877f,
                                         -0.5250730514526367f,
                                         -0.39491748809814453f,
                                         -0.28444138169288635f,
                                         -0.18477343022823334f,
                                         -0.09105003625154495f,
                                         0.0f,
                                         0.07958029955625534f,
                                         0.16093020141124725f,
                                         0.24611230194568634f,
                                         0.33791524171829224f,
                                         0.44070982933044434f,
                                         0.5626170039176941f,
                                         0.7229568362236023f,
                                         1.0f};

// The scales of the blocks as they are stored.
struct Nf4Scales {
  const float* plain = nullptr;   // [blocks], or null where they are nested
  const uint8_t* code = nullptr;  // [blocks], places in `map`
  const float* nested = nullptr;  // [ceil(blocks / kNestedBlock)]
  const float* map = nullptr;     // [256]
  float offset = 0;
};

// Two roundings, as in bitsandbytes: the product is not fused into the sum.
PRENTICE_HOST_DEVICE float nf4_scale(const Nf4Scales& scales, int64_t block) {
  if (scales.plain) return scales.plain[block];
  const float above = scales.map[scales.code[block]] * scales.nested[block / kNestedBlock];
#ifdef __CUDA_ARCH__
  return __fadd_rn(above, scales.offset);
#else
  return above + scales.offset;
#endif
}

}  // namespace prentice
