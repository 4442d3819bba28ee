#include "data/lengths.h"

#include <algorithm>
#include <cmath>

#include "core/batch.h"

namespace prentice {

LengthStats length_stats(std::vector<int64_t> lengths) {
  if (lengths.empty()) return {};
  std::sort(lengths.begin(), lengths.end());
  const auto rank = [&](double share) {
    const auto index = static_cast<size_t>(std::ceil(share * static_cast<double>(lengths.size())));
    return lengths[std::clamp<size_t>(index, 1, lengths.size()) - 1];
  };
  return {.p50 = rank(0.50), .p95 = rank(0.95), .p99 = rank(0.99), .max = lengths.back()};
}

LengthStats lengths_of_role(const std::vector<Sequence>& sequences, int32_t role) {
  std::vector<int64_t> lengths;
  for (const auto& sequence : sequences) {
    if (sequence.role == role) lengths.push_back(sequence.size());
  }
  return length_stats(std::move(lengths));
}

TokenTotals token_totals(const std::vector<Sequence>& sequences) {
  TokenTotals totals;
  std::vector<int64_t> lengths;
  for (const auto& sequence : sequences) {
    ++totals.sequences;
    totals.tokens += sequence.size();
    totals.trained_tokens +=
        std::count_if(sequence.labels.begin(), sequence.labels.end(), [](int32_t label) { return label != kNoLabel; });
    totals.target_weight += sequence.target_weight();
    lengths.push_back(sequence.size());
  }
  totals.lengths = length_stats(std::move(lengths));
  return totals;
}

}  // namespace prentice
