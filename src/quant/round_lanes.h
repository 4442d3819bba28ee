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

// The largest magnitude among the values of one group.
template <int W>
PRENTICE_LANE float largest_of(const float* values, int size) {
  using L = Lanes<W>;
  auto most = L::all(0.0f);
  for (int i = 0; i < size; i += W) {
    const auto magnitude = L::magnitude(L::load(values + i));
    most = L::pick(L::less(most, magnitude), magnitude, most);
  }
  return L::largest(most);
}

// Groups of 32 as they lie: here no sum depends on an order.
template <int W>
void rounded(const Groups& groups, const FoundGrids& found) {
  using L = Lanes<W>;
  using F = typename L::F;
  constexpr float kBelowHalf =
      0x1.fffffep-2f;  // with it, and only with it, every sum that is truncated rounds as roundf
  for (int64_t group = 0; group < groups.count; ++group) {
    const float* values = groups.values + group * groups.size;
    const float scale = largest_of<W>(values, groups.size) / 127.0f;
    const F inverse = L::all(inverse_of<1>(scale));
    found.scales[group] = scale;
    for (int i = 0; i < groups.size; i += W) {
      const F scaled = L::load(values + i) * inverse;
      const F is_code =
          L::pick(L::less(L::magnitude(scaled), L::all(128.0f)), scaled, F{});  // 1 / scale may be infinite
      const auto codes = L::to_ints(is_code + L::with_sign(L::all(kBelowHalf), is_code));
      L::store_bytes(codes, found.codes + group * groups.size + i);
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
      L::store_bytes(codes, found.codes + start + i);
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
