// An encoded example, the currency between encode, pack and steps; host memory only.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "data/origin.h"

namespace prentice {

inline constexpr int32_t kNoRole = -1;

// ids[t] is trained when labels say so: labels[t] is the id that follows position t, or -100 (core/batch.h).
struct Sequence {
  std::vector<int32_t> ids;
  std::vector<int32_t> labels;
  std::vector<float> weights;       // empty = 1 for each label
  int64_t sample = 0;               // index of the example in its data set, in file order
  int32_t piece = 0;                // which piece of a split document
  int32_t role = kNoRole;           // preference data: kChosen or kRejected (core/batch.h)
  std::optional<double> reference;  // log-probability of the answer under the reference, where known beforehand

  int64_t size() const { return static_cast<int64_t>(ids.size()); }
  double target_weight() const;  // sum of the weights of labelled positions
};

// Encoded examples and where they came from.
struct EncodedSet {
  std::vector<Sequence> sequences;
  int64_t group = 1;                // so many consecutive sequences are one example: 2 for pairs (chosen, rejected)
  std::vector<Origin> origins;      // by sample
  std::vector<double> mix_weights;  // by sample: weight of its file in the mix; empty = no mix, every row once an epoch
  std::vector<std::string> warnings;
  int64_t dropped = 0, truncated = 0, truncated_tokens = 0;
  int64_t longest = 0;
};

}  // namespace prentice
