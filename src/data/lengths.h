// How long rows are, in tokens: for the message about rows that are too long, and for the audit.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/sequence.h"

namespace prentice {

struct LengthStats {
  int64_t p50 = 0, p95 = 0, p99 = 0, max = 0;  // nearest rank
};
LengthStats length_stats(std::vector<int64_t> lengths);

struct TokenTotals {
  int64_t sequences = 0;
  int64_t tokens = 0;          // that pass through the model in one epoch
  int64_t trained_tokens = 0;  // positions with a label
  double target_weight = 0;    // what their losses are divided by, in all
  LengthStats lengths;
};
// Of the sequences that play `role` (Sequence::role).
LengthStats lengths_of_role(const std::vector<Sequence>& sequences, int32_t role);
TokenTotals token_totals(const std::vector<Sequence>& sequences);

}  // namespace prentice
