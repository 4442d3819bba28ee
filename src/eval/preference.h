// Scores answers: the loss of pairs, and how often the better one has the greater reward. Separate from the other tasks
// because it knows only the numbers that models give: sums of log-probabilities of two, or a reward model's scores.
#pragma once

#include <functional>

#include "config/schema.h"
#include "core/batch.h"
#include "data/encode.h"
#include "eval/report.h"
#include "eval/score.h"

namespace prentice {

// The rows to score, and how.
struct AnswerRows {
  const DataSet& data;  // pairs, or for kto labelled answers
  at::Device device = at::kCPU;
  int64_t limit = 0;  // examples; 0 = all
  int64_t micro_tokens = kEvalMicroTokens;
  std::function<bool()> stop = {};  // asked between batches; once true, what comes back is worth nothing
  std::function<void(int64_t done)> progress = {};  // examples
};

struct PreferenceInput {
  AnswerRows rows;
  const PreferenceSection& section;
  // [S] f64: log-probability of each sequence's answer; the reference's may be undefined
  std::function<Tensor(const Batch&)> policy, reference;
};

// No gradients. An answer without a pair is right when its reward lies on its side of the divergence (KTO). Errors:
// `numerical` for a loss that is NaN.
PreferenceResult score_preference(const PreferenceInput&);

// The same of a reward model: `scores` gives that of each sequence, [S] f64; the loss is reward_losses.
PreferenceResult score_rewards(const AnswerRows&, const std::function<Tensor(const Batch&)>& scores);

// The report of pairs as the one task, of which `score` gives the result. Errors: `usage`, before anything is scored,
// for a metric of section.require that they do not give.
EvalReport preference_report(const EvalSection& section, const std::function<PreferenceResult()>& score);

}  // namespace prentice
