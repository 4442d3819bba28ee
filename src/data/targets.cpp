#include "data/targets.h"

#include <algorithm>

#include "core/batch.h"

namespace prentice {

TokenTargets find_targets(const Encoding& encoding, const std::vector<TrainedSpan>& spans, size_t added) {
  const size_t count = encoding.ids.size();
  TokenTargets targets{.weights = std::vector<float>(count, 0.0F),
                       .last_token = std::vector<int64_t>(spans.size(), -1)};
  size_t span = 0;
  for (size_t token = added; token < count && span < spans.size(); ++token) {
    const auto [begin, end] = encoding.offsets[token];
    while (span < spans.size() && spans[span].bytes.end <= begin) ++span;
    if (span == spans.size()) break;
    if (begin >= spans[span].bytes.begin) {
      targets.weights[token] = static_cast<float>(spans[span].weight);
      targets.last_token[span] = static_cast<int64_t>(token);
    } else if (end > spans[span].bytes.begin) {
      targets.straddles.push_back({token, span});
    }
  }
  return targets;
}

Sequence make_sequence(std::vector<int32_t> ids, const std::vector<float>& target_weights) {
  Sequence sequence;
  const size_t count = ids.size();
  sequence.labels.assign(count, static_cast<int32_t>(kNoLabel));
  bool weighted = false;
  for (size_t t = 0; t + 1 < count; ++t) {
    if (target_weights[t + 1] == 0) continue;
    sequence.labels[t] = ids[t + 1];
    weighted |= target_weights[t + 1] != 1;
  }
  if (weighted) {
    sequence.weights.assign(count, 0.0F);
    std::copy(target_weights.begin() + 1, target_weights.end(), sequence.weights.begin());
  }
  sequence.ids = std::move(ids);
  return sequence;
}

bool has_label(const Sequence& sequence) {
  return std::any_of(sequence.labels.begin(), sequence.labels.end(), [](int32_t label) { return label != kNoLabel; });
}

TokenRow cut_pair(TokenRow row, int64_t limit, int64_t added, int64_t border, bool keep_last) {
  const auto erase = [&](int64_t begin, int64_t count) {
    row.ids.erase(row.ids.begin() + begin, row.ids.begin() + begin + count);
    row.targets.erase(row.targets.begin() + begin, row.targets.begin() + begin + count);
  };
  int64_t excess = static_cast<int64_t>(row.ids.size()) - limit;
  if (excess <= 0) return row;
  const int64_t from_prompt = std::min(excess, border - added);
  erase(added, from_prompt);
  excess -= from_prompt;
  erase(static_cast<int64_t>(row.ids.size()) - excess - (keep_last ? 1 : 0), excess);
  return row;
}

std::vector<Sequence> split_text(const TokenRow& row, int64_t limit) {
  std::vector<Sequence> pieces;
  const auto size = static_cast<int64_t>(row.ids.size());
  for (int64_t begin = 0, end; begin < size; begin = end) {
    end = std::min(begin + limit, size);
    if (size - end == 1 && limit > 2) --end;
    if (begin > 0 && end - begin == 1) break;
    pieces.push_back(make_sequence({row.ids.begin() + begin, row.ids.begin() + end},
                                   {row.targets.begin() + begin, row.targets.begin() + end}));
    pieces.back().piece = static_cast<int32_t>(pieces.size()) - 1;
  }
  return pieces;
}

}  // namespace prentice
