// The searches of search.h over W groups at once, from the published algorithms (ggml-quants.c: make_qkx2_quants and
// make_qkx3_quants, make_qx_quants, make_q3_quants).
#pragma once

#include "quant/lanes.h"
#include "quant/search.h"

namespace prentice {

// N values in each group.
template <int W, int N>
struct GroupLanes {
  using L = Lanes<W>;
  using F = typename L::F;
  using I = typename L::I;

  F x[N], w[N];

  // Lanes behind the last group hold the last group again.
  static void gather(const float* from, const Groups& groups, int64_t first, F* to) {
    for (int k = 0; k < W; ++k) {
      const int64_t group = first + k < groups.count ? first + k : groups.count - 1;
      const float* values = from + group * N;
      for (int i = 0; i < N; ++i) reinterpret_cast<float*>(to + i)[k] = values[i];
    }
  }

  GroupLanes(const Groups& groups, int64_t first, WeightRule rule) {
    gather(groups.values, groups, first, x);
    switch (rule) {
      case WeightRule::square:
        for (int i = 0; i < N; ++i) w[i] = x[i] * x[i];
        break;
      case WeightRule::magnitude:
        for (int i = 0; i < N; ++i) w[i] = L::magnitude(x[i]);
        break;
      case WeightRule::rms_plus_magnitude: {
        F squares = L::all(0.0f);
        for (int i = 0; i < N; ++i) squares += x[i] * x[i];
        const F rms = L::root(squares / static_cast<float>(N));
        for (int i = 0; i < N; ++i) w[i] = rms + L::magnitude(x[i]);
        break;
      }
      default:
        gather(groups.weights, groups, first, w);
    }
  }

  // The first value of the largest magnitude, and that magnitude.
  void extreme(F& value, F& most) const {
    value = most = L::all(0.0f);
    for (int i = 0; i < N; ++i) {
      const F magnitude = L::magnitude(x[i]);
      const I larger = L::less(most, magnitude);
      most = L::pick(larger, magnitude, most);
      value = L::pick(larger, x[i], value);
    }
  }
  void range(F& low, F& high) const {
    low = high = x[0];
    for (int i = 1; i < N; ++i) {
      low = L::pick(L::less(x[i], low), x[i], low);
      high = L::pick(L::less(high, x[i]), x[i], high);
    }
  }
};

template <int W>
void store(const Groups& groups, int64_t first, typename Lanes<W>::F values, float* to) {
  for (int k = 0; k < W && first + k < groups.count; ++k) to[first + k] = Lanes<W>::lane(values, k);
}

// Element i's codes of the groups from `first` on.
template <int W>
void store_codes(const Groups& groups, int64_t first, int i, typename Lanes<W>::I codes, const FoundGrids& found) {
  for (int k = 0; k < W && first + k < groups.count; ++k)
    found.codes[(first + k) * groups.size + i] = static_cast<uint8_t>(Lanes<W>::lane(codes, k));
}

// The state of one search with a minimum.
template <int W, int N, bool kAbsolute>
struct MinimumFit {
  using L = Lanes<W>;
  using F = typename L::F;
  using I = typename L::I;

  const GroupLanes<W, N>& g;
  const int largest;
  F low, high, sum_w, sum_x, scale, best_error;
  F best_inverse, best_low;  // that the codes of the best step are made with
  F code[N];

  PRENTICE_LANE F codes_of(F value, F inverse, F low, int largest) {
    return L::to_floats(L::clamp(L::nearest(inverse * (value - low)), 0, largest));
  }
  PRENTICE_LANE F error_of(F difference) {
    if constexpr (kAbsolute)
      return L::magnitude(difference);
    else
      return difference * difference;
  }

  MinimumFit(const GroupLanes<W, N>& groups, int largest) : g(groups), largest(largest) {
    g.range(low, high);
    sum_w = g.w[0], sum_x = sum_w * g.x[0];
    for (int i = 1; i < N; ++i) sum_w += g.w[i], sum_x += g.w[i] * g.x[i];
    low = L::pick(L::less(L::all(0.0f), low), L::all(0.0f), low);
    best_inverse = static_cast<float>(largest) / (high - low);
    best_low = low;
    scale = 1.0f / best_inverse;
    best_error = L::all(0.0f);
    for (int i = 0; i < N; ++i) {
      const F l = codes_of(g.x[i], best_inverse, low, largest);
      best_error += g.w[i] * error_of(scale * l + low - g.x[i]);
    }
  }

  void step(float codes) {
    const F zero = L::all(0.0f);
    const F inverse = codes / (high - low);
    F sum_l = zero, sum_ll = zero, sum_xl = zero;
    for (int i = 0; i < N; ++i) {
      code[i] = codes_of(g.x[i], inverse, low, largest);
      const F weighted = g.w[i] * code[i];
      sum_l += weighted;
      sum_ll += weighted * code[i];
      sum_xl += weighted * g.x[i];
    }
    const F determinant = sum_w * sum_ll - sum_l * sum_l;
    F new_scale = (sum_w * sum_xl - sum_x * sum_l) / determinant;
    F new_low = (sum_ll * sum_x - sum_l * sum_xl) / determinant;
    const I above = L::less(zero, new_low);
    new_low = L::pick(above, zero, new_low);
    new_scale = L::pick(above, sum_xl / sum_ll, new_scale);
    F error = zero;
    for (int i = 0; i < N; ++i) error += g.w[i] * error_of(new_scale * code[i] + new_low - g.x[i]);
    const I better = L::less(zero, determinant) & L::less(error, best_error);
    best_inverse = L::pick(better, inverse, best_inverse);
    best_low = L::pick(better, low, best_low);
    best_error = L::pick(better, error, best_error);
    scale = L::pick(better, new_scale, scale);
    low = L::pick(better, new_low, low);
  }
};

template <int W, int N, bool kAbsolute>
void search_with_minimum(const GridSearch& search, const Groups& groups, const FoundGrids& found) {
  using L = Lanes<W>;
  for (int64_t first = 0; first < groups.count; first += W) {
    const GroupLanes<W, N> lanes(groups, first, search.rule);
    MinimumFit<W, N, kAbsolute> fit(lanes, search.largest);
    const auto flat = L::same(fit.high, fit.low);  // before the search moves the minimum
    const auto flat_low = fit.low;
    for (int s = 0; s <= search.steps; ++s)
      fit.step(search.first + search.step * static_cast<float>(s) + static_cast<float>(search.largest));
    store<W>(groups, first, L::pick(flat, L::all(0.0f), fit.scale), found.scales);
    store<W>(groups, first, -L::pick(flat, flat_low, fit.low), found.minimums);
    for (int i = 0; i < N; ++i) {
      const auto codes = L::clamp(L::nearest(fit.best_inverse * (lanes.x[i] - fit.best_low)), 0, search.largest);
      store_codes<W>(groups, first, i, flat ? typename L::I{} : codes, found);
    }
  }
}

template <int W>
void with_minimum(const GridSearch& search, const Groups& groups, const FoundGrids& found) {
  if (groups.size == 32) return search_with_minimum<W, 32, false>(search, groups, found);
  if (search.absolute) return search_with_minimum<W, 16, true>(search, groups, found);
  search_with_minimum<W, 16, false>(search, groups, found);
}

// Sums of one grid without a minimum.
template <int W, int N>
struct SymmetricFit {
  using L = Lanes<W>;
  using F = typename L::F;

  F xl, ll;

  SymmetricFit(const GroupLanes<W, N>& g, const F* weighted, F inverse, int largest) {
    xl = ll = L::all(0.0f);
    for (int i = 0; i < N; ++i) {
      const F l = L::to_floats(L::clamp(L::nearest(inverse * g.x[i]), -largest, largest - 1));
      xl += weighted[i] * l;
      ll += g.w[i] * l * l;
    }
  }
};

template <int W, int N>
void search_symmetric(int largest, WeightRule rule, const Groups& groups, const FoundGrids& found) {
  using L = Lanes<W>;
  using F = typename L::F;
  for (int64_t first = 0; first < groups.count; first += W) {
    const GroupLanes<W, N> g(groups, first, rule);
    F extreme, magnitude, weighted[N];
    g.extreme(extreme, magnitude);
    for (int i = 0; i < N; ++i) weighted[i] = g.w[i] * g.x[i];
    const F zero = L::all(0.0f);
    F best_inverse = static_cast<float>(-largest) / extreme;
    SymmetricFit<W, N> fit(g, weighted, best_inverse, largest);
    F scale = L::pick(L::same(fit.ll, zero), zero, fit.xl / fit.ll);
    F best = scale * fit.xl;
    for (int s = -9; s <= 9; ++s) {
      if (s == 0) continue;
      const F inverse = -(static_cast<float>(largest) + 0.1f * static_cast<float>(s)) / extreme;
      fit = SymmetricFit<W, N>(g, weighted, inverse, largest);
      const auto better = L::less(zero, fit.ll) & L::less(best * fit.ll, fit.xl * fit.xl);
      best_inverse = L::pick(better, inverse, best_inverse);
      scale = L::pick(better, fit.xl / fit.ll, scale);
      best = L::pick(better, scale * fit.xl, best);
    }
    const auto nothing = L::less(magnitude, L::all(kNothing));
    store<W>(groups, first, L::pick(nothing, zero, scale), found.scales);
    for (int i = 0; i < N; ++i) {
      const auto codes = L::clamp(L::nearest(best_inverse * g.x[i]), -largest, largest - 1) + largest;
      store_codes<W>(groups, first, i, nothing ? typename L::I{} : codes, found);
    }
  }
}

template <int W>
void symmetric(int largest, WeightRule rule, const Groups& groups, const FoundGrids& found) {
  if (groups.size == 32) return search_symmetric<W, 32>(largest, rule, groups, found);
  search_symmetric<W, 16>(largest, rule, groups, found);
}

template <int W, int N>
struct CoordinateFit {
  using L = Lanes<W>;
  using F = typename L::F;
  using I = typename L::I;

  const GroupLanes<W, N>& g;
  const int largest;
  F xl, ll, code[N];

  CoordinateFit(const GroupLanes<W, N>& groups, F inverse, int largest) : g(groups), largest(largest) {
    xl = ll = L::all(0.0f);
    for (int i = 0; i < N; ++i) {
      code[i] = L::to_floats(L::clamp(L::nearest(inverse * g.x[i]), -largest, largest - 1));
      xl += g.w[i] * g.x[i] * code[i];
      ll += g.w[i] * code[i] * code[i];
    }
  }

  // One pass; false when no code of any lane changes.
  bool improve() {
    const F zero = L::all(0.0f);
    I changed = I{};
    for (int i = 0; i < N; ++i) {
      const F weighted = g.w[i] * g.x[i];
      F new_xl = xl - weighted * code[i], new_ll = ll - g.w[i] * code[i] * code[i];
      const F l = L::to_floats(L::clamp(L::nearest(g.x[i] * new_ll / new_xl), -largest, largest - 1));
      const I other = L::less(zero, new_xl) & ~L::same(l, code[i]);
      new_xl += weighted * l;
      new_ll += g.w[i] * l * l;
      const I better = other & L::less(zero, new_ll) & L::less(xl * xl * new_ll, new_xl * new_xl * ll);
      code[i] = L::pick(better, l, code[i]);
      xl = L::pick(better, new_xl, xl);
      ll = L::pick(better, new_ll, ll);
      changed |= better;
    }
    return L::any(changed);
  }
};

template <int W>
void by_coordinates(int largest, const Groups& groups, const FoundGrids& found) {
  constexpr int N = 16;
  using L = Lanes<W>;
  using F = typename L::F;
  for (int64_t first = 0; first < groups.count; first += W) {
    const GroupLanes<W, N> g(groups, first, WeightRule::square);
    F extreme, magnitude;
    g.extreme(extreme, magnitude);
    CoordinateFit<W, N> fit(g, static_cast<float>(-largest) / extreme, largest);
    for (int pass = 0; pass < 5 && fit.improve(); ++pass) continue;
    const F zero = L::all(0.0f);
    const auto nothing = L::less(magnitude, L::all(kNothing));
    const F scale = L::pick(L::less(zero, fit.ll), fit.xl / fit.ll, zero);
    store<W>(groups, first, L::pick(nothing, zero, scale), found.scales);
    for (int i = 0; i < N; ++i) {
      const auto codes = L::truncated(fit.code[i]) + largest;
      store_codes<W>(groups, first, i, nothing ? typename L::I{} : codes, found);
    }
  }
}

}  // namespace prentice
