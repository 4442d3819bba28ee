// What the encoders of one batch of blocks share: scratch space, and the rule that turns group scales into codes.
#pragma once

#include <cmath>
#include <cstring>

#include "core/vectorised.h"
#include "io/half.h"
#include "quant/blocks.h"
#include "quant/scale_codes.h"

namespace prentice {

template <int kGroup>
struct BatchScratch {
  alignas(64) float scales[kBatchValues / kGroup];
  alignas(64) float minimums[kBatchValues / kGroup] = {};
  alignas(64) uint8_t codes[kBatchValues];
  FoundGrids found() { return {scales, minimums, codes}; }
};

template <int kGroup>
Groups groups_of(const BlockBatch& batch, int64_t block_elements) {
  return {batch.values, batch.weights, batch.count * (block_elements / kGroup), kGroup};
}

inline float load_f16(const uint16_t& at) { return f16_to_f32(at); }

// Codes of non-negative values on the grid 0 .. largest that their maximum spans, and the grid's step; without weights.
// `clamped`: codes end at `largest`, whatever rounding does.
inline float spread_codes(const float* values, int n, int largest, bool clamped, uint8_t* codes) {
  float most = 0;
  for (int i = 0; i < n; ++i) most = values[i] > most ? values[i] : most;
  const float inverse = most > 0 ? static_cast<float>(largest) / most : 0.0f;
  for (int i = 0; i < n; ++i) {
    codes[i] = static_cast<uint8_t>(nearest_int(inverse * values[i]));
    if (clamped && codes[i] > largest) codes[i] = static_cast<uint8_t>(largest);
  }
  return most / static_cast<float>(largest);
}

// The same fitted to their weights, where those are known.
inline float step_codes(const float* values, const float* weights, int n, int largest, bool clamped, uint8_t* codes) {
  return weights == nullptr ? spread_codes(values, n, largest, clamped, codes)
                            : fit_codes(values, weights, n, largest, codes);
}

// The first value of the largest magnitude.
inline float extreme_of(const float* values, int n) {
  float extreme = 0;
  for (int i = 0; i < n; ++i) extreme = std::fabs(values[i]) > std::fabs(extreme) ? values[i] : extreme;
  return extreme;
}

}  // namespace prentice
