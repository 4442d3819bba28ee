// From spans of text that are trained to tokens that are trained, and from those to a sequence's labels.
// A token is trained if and only if it begins in a span.
#pragma once

#include <cstdint>
#include <vector>

#include "data/sequence.h"
#include "text/tokenizer.h"

namespace prentice {

struct TrainedSpan {
  ByteSpan bytes;
  double weight = 1;
  size_t message = 0;  // of a conversation
};

struct TokenTargets {
  std::vector<float> weights;       // by token: its weight as a target, 0 = not trained
  std::vector<int64_t> last_token;  // by span: the last token that begins in it, -1 = none
  struct Straddle {
    size_t token = 0, span = 0;
  };
  std::vector<Straddle> straddles;  // tokens that begin before a span and end in it
};

// `spans` ascend and do not overlap; the first `added` tokens come from the post-processor and belong to no span.
TokenTargets find_targets(const Encoding& encoding, const std::vector<TrainedSpan>& spans, size_t added);

// labels[t] = ids[t + 1] where that token is a target. Weights stay empty when all are 1.
Sequence make_sequence(std::vector<int32_t> ids, const std::vector<float>& target_weights);

bool has_label(const Sequence& sequence);

// A token row too long for `limit`: what is left of it.
struct TokenRow {
  std::vector<int32_t> ids;
  std::vector<float> targets;  // weights as targets
};

// Prompt and completion: cuts the prompt [added, border) from the left, then the completion from the right, but never
// the last token when `keep_last` (EOS).
TokenRow cut_pair(TokenRow row, int64_t limit, int64_t added, int64_t border, bool keep_last);

// Pieces of at most `limit` tokens, together the row. A last token that would stand alone, where nothing predicts it,
// takes the one before it along; limits below 3 have no room for that, and it is left out.
std::vector<Sequence> split_text(const TokenRow& row, int64_t limit);

}  // namespace prentice
