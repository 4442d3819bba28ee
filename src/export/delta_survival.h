// How much of an adapter's update is left in a file of blocks. Separate from the writer, which only shows it values.
//
// W: the base's values, D: the update, Q: a type's rounding (encode, then decode), C = Q(W + D) - Q(W): what the file
// differs by from that of the base, E = Q(W + D) - (W + D). Over all values of a tensor, or of all that the adapter
// changes:
//   survival  = <C, D> / <D, D>        1: all of it; 0: the file is the base's
//   alignment = <C, D> / (|C| |D|)     1: nothing else changes; near 0: the update drowns in rounding that changes
//   noise     = |E| / |D|              rounding, in units of the update
#pragma once

#include <span>
#include <string>
#include <vector>

#include "io/gguf.h"

namespace prentice {

struct DeltaSums {
  double kept = 0, update = 0, change = 0, error = 0;  // <C, D>, <D, D>, <C, C>, <E, E>

  double survival() const;  // 1 where there is no update
  double alignment() const;
  double noise() const;
  // Less than half of the update is left, or less than a 400th of the square of what changes is the update.
  bool is_nearly_gone() const;
  void add(const DeltaSums& other);
};

// `merged` is W + D and `base` W, whole rows; `stored` are the merged values' bytes in blocks of `type`, encoded with
// this importance.
DeltaSums delta_sums(std::span<const float> merged, std::span<const float> base, std::span<const std::byte> stored,
                     GgmlType type, std::span<const float> importance);

struct TensorSurvival {
  std::string tensor;  // GGUF name
  GgmlType type = GgmlType::F32;
  DeltaSums sums;
};

struct DeltaSurvival {
  std::vector<TensorSurvival> tensors;  // those that an adapter changes and blocks hold; empty: there are none

  DeltaSums total() const;
  // One sentence about the file.
  std::string sentence() const;
};

}  // namespace prentice
