// By how much the values that a tensor holds are larger, all together, than those it was made of, as far as its steps
// show it. A factor of a few per cent hides in the error of coarse types, but not in the direction of that error: what
// is rounded to the nearest of its steps errs to both sides alike, whoever chose the steps and for whose sake.
#pragma once

#include <cstdint>
#include <span>

#include "proof/code_ranges.h"

namespace prentice {

class ScaleEstimate {
 public:
  // `ranges`: of the blocks that hold `stored`. Values outside the range of their steps are cut, and tell nothing.
  void add(std::span<const float> wanted, std::span<const float> stored, const CodeRanges& ranges);

  int64_t values() const { return values_; }
  double excess() const;  // 0.02: 2 % too large
  double error() const;   // root mean square, of that of the values

 private:
  int64_t values_ = 0;
  double squares_ = 0, along_ = 0, errors_ = 0;
};

// How far the excess of a file may be from that of the reference quantizer, `own`. Measured against ggml's bytes with
// importance matrices whose columns differ by up to e^5 (normal, heavy-tailed and Laplace values, columns of other
// sizes; 4 to 131 thousand values): K-blocks keep within a quarter of the squared error and 8 times what chance makes;
// Q4_0 to Q5_1, whose codes a matrix takes off the nearest step, within 0.02 more.
double most_excess(const ScaleEstimate& own, GgmlType type, bool importance);

}  // namespace prentice
