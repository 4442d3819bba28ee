// Scores answers: the preference loss, and how often the better one has the greater reward. Separate from the other
// tasks because it asks two models, of which it knows only the sums they give.
#pragma once

#include <functional>

#include "config/schema.h"
#include "core/batch.h"
#include "data/encode.h"
#include "eval/report.h"
#include "eval/score.h"

namespace prentice {

struct PreferenceInput {
  const DataSet& data;  // pairs, or for kto labelled answers
  const PreferenceSection& section;
  // [S] f64: log-probability of each sequence's answer; the reference's may be undefined
  std::function<Tensor(const Batch&)> policy, reference;
  at::Device device = at::kCPU;
  int64_t limit = 0;  // examples; 0 = all
  int64_t micro_tokens = kEvalMicroTokens;
  std::function<bool()> stop = {};  // asked between batches; once true, what comes back is worth nothing
};

// No gradients. An answer without a pair is right when its reward lies on its side of the divergence (KTO). Errors:
// `numerical` for a loss that is NaN.
PreferenceResult score_preference(const PreferenceInput&);

}  // namespace prentice
