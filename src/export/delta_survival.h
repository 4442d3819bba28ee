// How much of an adapter's update is left in a file of blocks. Separate from the writer, which only shows it values.
//
// W: the base's values, D: the update, Q: a type's rounding (encode, then decode), C = Q(W + D) - Q(W): what the file
// differs by from that of the base, E = Q(W + D) - (W + D). Over all values of a tensor, or of all that the adapter
// changes:
//   alignment = <C, D> / (|C| |D|)     the cosine of what the file changes by and what was trained. 1: nothing else
//                                      changes; near 0: the update drowns in rounding that changes
//   noise     = |E| / |D|              rounding, in units of the update
//   survival  = <C, D> / <D, D>        the part of the update that is in the change: 0 where the file is the base's.
//                                      Rounding of fine steps is not correlated with D, so this is near 1 whatever else
//                                      the rounding does, and says only that something arrives
//
// When it is nearly gone. D has a low rank r: of inputs of n columns it reads r directions, and along them a unit
// vector x has |D x|^2 = |D|^2 / r on average. E is not correlated with its place: |E x|^2 = |E|^2 / n along any
// direction. So on the very inputs that the update was trained for it stands above the rounding by
//   signal = (|D|^2 / r) / (|E|^2 / n) = n / (r noise^2)
// and below 1 its outputs are less than what the rounding makes of the same inputs. Where both roundings are
// independent, alignment = 1 / sqrt(1 + 2 noise^2): rank 16 on 4096 columns is nearly gone below 0.044, rank 16 on 256
// below 0.17. What is left of so small an update depends on which way single values happened to round.
#pragma once

#include <cstdint>
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
  void add(const DeltaSums& other);
};

// `merged` is W + D and `base` W, whole rows; `stored` are the merged values' bytes in blocks of `type`, encoded with
// this importance.
DeltaSums delta_sums(std::span<const float> merged, std::span<const float> base, std::span<const std::byte> stored,
                     GgmlType type, std::span<const float> importance);

// The sums as a line that another process reads back to the same bits; "" where there is no update.
std::string note_of(const DeltaSums&);
DeltaSums sums_of(const std::string& note);

struct TensorSurvival {
  std::string tensor;  // GGUF name
  GgmlType type = GgmlType::F32;
  DeltaSums sums;
  double columns_per_rank = 1;  // n / r

  double signal() const;  // infinite without rounding
  // `signal` is below 1, or less than half of the update is in what changes.
  bool is_nearly_gone() const;
};

struct DeltaSurvival {
  std::vector<TensorSurvival> tensors;  // those that an adapter changes and blocks hold; empty: there are none

  DeltaSums total() const;
  // Of the whole file: the mean of the tensors', each by its rounding |E|^2.
  double signal() const;
  // Tensors with more than half of |D|^2 are.
  bool is_nearly_gone() const;
  // One sentence about the file.
  std::string sentence() const;
};

}  // namespace prentice
