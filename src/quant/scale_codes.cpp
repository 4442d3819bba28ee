#include "quant/scale_codes.h"

#include <algorithm>
#include <cstring>

#include "quant/lanes.h"

namespace prentice {

namespace {

int code_of(float value, int largest) { return std::min(largest, nearest_int(value)); }

// One pass over the codes; false when none changes. `xl` and `ll` are the sums that the scale is made of.
bool improve(const float* values, const float* weights, int n, int largest, uint8_t* codes, float& xl, float& ll) {
  bool changed = false;
  for (int i = 0; i < n; ++i) {
    const float w = weights[i], x = values[i];
    const auto old = static_cast<float>(codes[i]);
    float new_xl = xl - w * x * old, new_ll = ll - w * old * old;
    if (!(new_xl > 0 && new_ll > 0)) continue;
    const int code = code_of(x * new_ll / new_xl, largest);
    if (code == codes[i]) continue;
    const auto l = static_cast<float>(code);
    new_xl += w * x * l;
    new_ll += w * l * l;
    if (new_xl * new_xl * ll > xl * xl * new_ll) {
      codes[i] = static_cast<uint8_t>(code);
      xl = new_xl, ll = new_ll;
      changed = true;
    }
  }
  return changed;
}

}  // namespace

int nearest_int(float value) { return Lanes<1>::nearest(value); }

float fit_codes(const float* values, const float* weights, int n, int largest, uint8_t* codes) {
  float most = 0;
  for (int i = 0; i < n; ++i) most = std::max(most, values[i]);
  if (most < kNothing) {
    std::fill_n(codes, n, uint8_t{0});
    return 0;
  }
  const auto error_of = [&](float inverse, bool bounded) {
    const float scale = 1.0f / inverse;
    float error = 0;
    for (int i = 0; i < n; ++i) {
      const int code = nearest_int(inverse * values[i]);
      const float difference =
          values[i] - scale * static_cast<float>(bounded ? std::min(largest, code) : static_cast<uint8_t>(code));
      error += weights[i] * difference * difference;
    }
    return error;
  };
  float inverse = static_cast<float>(largest) / most;
  float best = error_of(inverse, false);
  for (int s = -4; s <= 4; ++s) {
    if (s == 0) continue;
    const float other = (0.1f * static_cast<float>(s) + static_cast<float>(largest)) / most;
    const float error = error_of(other, true);
    if (error < best) best = error, inverse = other;
  }
  float xl = 0, ll = 0;
  for (int i = 0; i < n; ++i) {
    const int code = code_of(inverse * values[i], largest);
    codes[i] = static_cast<uint8_t>(code);
    const auto l = static_cast<float>(code);
    xl += weights[i] * values[i] * l;
    ll += weights[i] * l * l;
  }
  for (int pass = 0; pass < 5 && improve(values, weights, n, largest, codes, xl, ll); ++pass) continue;
  return ll > 0 ? xl / ll : 0.0f;
}

void sum_groups(const Groups& groups, float* sums) {
  for (int64_t group = 0; group < groups.count; ++group) {
    float sum = 0;
    for (int i = 0; i < groups.size; ++i) sum += groups.weights[group * groups.size + i];
    sums[group] = sum;
  }
}

void pack_scales(const uint8_t* scales, const uint8_t* minimums, uint8_t* out) {
  for (int j = 0; j < 4; ++j) {
    out[j] = static_cast<uint8_t>(scales[j] | (scales[j + 4] >> 4) << 6);
    out[j + 4] = static_cast<uint8_t>(minimums[j] | (minimums[j + 4] >> 4) << 6);
    out[j + 8] = static_cast<uint8_t>((scales[j + 4] & 15) | (minimums[j + 4] & 15) << 4);
  }
}

void unpack_scales(const uint8_t* packed, uint8_t* scales, uint8_t* minimums) {
  uint32_t words[3];  // four codes in each
  std::memcpy(words, packed, sizeof words);
  const auto [first, second, third] = words;
  const uint32_t from_scales[] = {first & 0x3f3f3f3f, (third & 0x0f0f0f0f) | (first >> 2 & 0x30303030)};
  const uint32_t from_minimums[] = {second & 0x3f3f3f3f, (third >> 4 & 0x0f0f0f0f) | (second >> 2 & 0x30303030)};
  std::memcpy(scales, from_scales, sizeof from_scales);
  std::memcpy(minimums, from_minimums, sizeof from_minimums);
}

}  // namespace prentice
