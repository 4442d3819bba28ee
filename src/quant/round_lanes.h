// The roundings of search.h onto grids that need no search (ggml-quants.c: quantize_row_*_ref), and the tables of one
// width's functions.
#pragma once

#include "quant/search_lanes.h"

namespace prentice {

// 1 / scale, where there is one.
template <int W>
PRENTICE_LANE typename Lanes<W>::F inverse_of(typename Lanes<W>::F scale) {
  using L = Lanes<W>;
  return L::pick(L::same(scale, L::all(0.0f)), L::all(0.0f), 1.0f / scale);
}

template <int W>
void extreme(int largest, const Groups& groups, const FoundGrids& found) {
  constexpr int N = 32;
  using L = Lanes<W>;
  for (int64_t first = 0; first < groups.count; first += W) {
    const GroupLanes<W, N> g(groups, first, WeightRule::magnitude);
    typename L::F value, magnitude;
    g.extreme(value, magnitude);
    const auto scale = value / static_cast<float>(-largest);
    const auto inverse = inverse_of<W>(scale);
    store<W>(groups, first, scale, found.scales);
    for (int i = 0; i < N; ++i) {
      const auto code = L::truncated(g.x[i] * inverse + (static_cast<float>(largest) + 0.5f));
      store_codes<W>(groups, first, i, L::clamp(L::as_i8(code), INT8_MIN, 2 * largest - 1), found);
    }
  }
}

template <int W>
void range(int largest, bool bounded, const Groups& groups, const FoundGrids& found) {
  constexpr int N = 32;
  using L = Lanes<W>;
  for (int64_t first = 0; first < groups.count; first += W) {
    const GroupLanes<W, N> g(groups, first, WeightRule::magnitude);
    typename L::F low, high;
    g.range(low, high);
    const auto scale = (high - low) / static_cast<float>(largest);
    const auto inverse = inverse_of<W>(scale);
    store<W>(groups, first, scale, found.scales);
    store<W>(groups, first, -low, found.minimums);
    for (int i = 0; i < N; ++i) {
      const auto code = L::truncated((g.x[i] - low) * inverse + 0.5f);
      store_codes<W>(groups, first, i, bounded ? L::clamp(L::as_i8(code), INT8_MIN, largest) : code, found);
    }
  }
}

// Groups of 32 as they lie: here no sum depends on an order.
template <int W>
void rounded(const Groups& groups, const FoundGrids& found) {
  using L = Lanes<W>;
  using F = typename L::F;
  for (int64_t group = 0; group < groups.count; ++group) {
    const float* values = groups.values + group * groups.size;
    F most = L::all(0.0f);
    for (int i = 0; i < groups.size; i += W) {
      const F magnitude = L::magnitude(L::load(values + i));
      most = L::pick(L::less(most, magnitude), magnitude, most);
    }
    float largest = 0;
    for (int k = 0; k < W; ++k) largest = largest < L::lane(most, k) ? L::lane(most, k) : largest;
    const float scale = largest / 127.0f;
    const F inverse = inverse_of<W>(L::all(scale));
    found.scales[group] = scale;
    for (int i = 0; i < groups.size; i += W) {
      const F scaled = L::load(values + i) * inverse;
      const auto whole = L::truncated(scaled);
      const F rest = scaled - L::to_floats(whole);                                         // exact: both are below 128
      const auto up = ~L::less(rest, L::all(0.5f)), down = ~L::less(L::all(-0.5f), rest);  // -1 where true
      const auto is_code = L::less(L::magnitude(scaled), L::all(128.0f));                  // 1 / scale may be infinite
      const auto codes = is_code ? whole - up + down : typename L::I{};
      for (int k = 0; k < W; ++k) found.codes[group * groups.size + i + k] = static_cast<uint8_t>(L::lane(codes, k));
    }
  }
}

template <int W>
void snap(int lowest, int highest, const Groups& groups, const FoundGrids& found) {
  using L = Lanes<W>;
  for (int64_t group = 0; group < groups.count; ++group) {
    if (found.scales[group] == 0) continue;
    const auto scale = L::all(found.scales[group]), minimum = L::all(found.minimums[group]);
    const int64_t start = group * groups.size;
    for (int i = 0; i < groups.size; i += W) {
      const auto value = (L::load(groups.values + start + i) + minimum) / scale;
      const auto codes = L::clamp(L::nearest(value), lowest, highest) - lowest;
      for (int k = 0; k < W; ++k) found.codes[start + i + k] = static_cast<uint8_t>(L::lane(codes, k));
    }
  }
}

template <int W>
void weigh(const float* values, const float* importance, float spread, int64_t n, float* weights) {
  using L = Lanes<W>;
  for (int64_t i = 0; i < n; i += W) {
    const auto x = L::load(values + i);
    const auto out = L::load(importance + i) * L::root(spread + x * x);
    __builtin_memcpy(weights + i, &out, sizeof out);
  }
}

template <int W>
constexpr SearchPath path_of(const char* name) {
  return {name, with_minimum<W>, symmetric<W>, by_coordinates<W>, extreme<W>, range<W>, rounded<W>, snap<W>, weigh<W>};
}

}  // namespace prentice
