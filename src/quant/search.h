// The searches for the grid of a group of values, and the roundings onto a grid: what the block types are made of.
// Each processor's form gives the same bits: different groups lie in different lanes, and each lane adds in the order
// of ggml's reference (ggml-quants.c). Separate from the types so that only this is compiled per instruction set.
#pragma once

#include <cstdint>
#include <span>

namespace prentice {

inline constexpr float kNothing = 1e-15f;  // magnitudes below are a group of zeros (ggml's GROUP_MAX_EPS)

// `count` groups of `size` values (16 or 32), one behind the other.
struct Groups {
  const float* values;
  const float* weights;  // one for each value; nullptr: made from the values, see WeightRule
  int64_t count;
  int size;
};

enum class WeightRule { given, square, magnitude, rms_plus_magnitude };

// value ~ scale * code - minimum, code 0 .. largest. The first grid spans the group; then `steps` + 1 others, step s of
// (first + step * s + largest) codes over the span, each fitted by weighted least squares; the least error wins.
struct GridSearch {
  int largest;
  float first, step;
  int steps;
  bool absolute;  // the error is |difference|, not its square (groups of 16)
  WeightRule rule;
};

struct FoundGrids {
  float* scales;    // [count]
  float* minimums;  // [count], of which none is negative; unused by grids without one
  uint8_t* codes;   // [count * size], from 0
};

struct SearchPath {
  const char* name;

  void (*with_minimum)(const GridSearch&, const Groups&, const FoundGrids&);
  // value ~ scale * code, code -largest .. largest - 1 (stored from 0): 19 grids around the one that gives the value of
  // largest magnitude the code -largest, each fitted; the best correlation wins. Groups below 1e-15 have scale 0 and
  // stored codes 0.
  void (*symmetric)(int largest, WeightRule, const Groups&, const FoundGrids&);
  // The same grid of groups of 16, weights value^2, improved code by code, at most five times.
  void (*by_coordinates)(int largest, const Groups&, const FoundGrids&);

  // Without a search, groups of 32: scale = extreme value / -largest, code = int(value / scale + largest + 0.5), from
  // 0.
  void (*extreme)(int largest, const Groups&, const FoundGrids&);
  // scale = range / largest, minimum the negative of the least value (of either sign here), code = int(... + 0.5);
  // `bounded`: not above `largest`, whatever rounding does.
  void (*range)(int largest, bool bounded, const Groups&, const FoundGrids&);
  // scale = largest magnitude / 127, code = value / scale rounded half away from zero, as i8.
  void (*rounded)(const Groups&, const FoundGrids&);

  // code = nearest((value + minimum) / scale) within lowest .. highest, stored from 0. Groups of scale 0 keep theirs.
  void (*snap)(int lowest, int highest, const Groups&, const FoundGrids&);
  // weights = importance * sqrt(spread + value^2). n is a multiple of 16.
  void (*weigh)(const float* values, const float* importance, float spread, int64_t n, float* weights);
};

// Those this processor can run, the plainest first.
std::span<const SearchPath* const> search_paths();
inline const SearchPath& fastest_path() { return *search_paths().back(); }

// In a file of its own each; nullptr where the program was built for another kind of processor.
extern const SearchPath kPortablePath;
const SearchPath* avx2_path();
const SearchPath* avx512_path();

}  // namespace prentice
