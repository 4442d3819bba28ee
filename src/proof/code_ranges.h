// The codes that a block's values are stored as: what the lowest and the highest one would read as in each place.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "io/gguf.h"

namespace prentice {

class CodeRanges {
 public:
  // `stored`: whole blocks of `type`. False: its values are no codes, and nothing is held.
  bool read(GgmlType type, std::span<const std::byte> stored);

  double lowest(size_t i) const { return lowest_[i]; }
  // From one code to the next; negative where the lowest code is the largest value.
  double step(size_t i) const { return (static_cast<double>(highest_[i]) - lowest_[i]) / last(); }
  double last() const { return codes_ - 1; }  // the highest code, of 0 and up
  size_t size() const { return lowest_.size(); }

 private:
  int codes_ = 0;
  std::vector<float> lowest_, highest_;
  std::vector<std::byte> bytes_;
};

}  // namespace prentice
