// What one batch of pairs adds to a step's loss: from sums of log-probabilities, or a reward model's scores, by
// sequence to the share of the loss and its metrics. Separate from the losses, which know pairs and no batches.
#pragma once

#include "config/schema.h"
#include "core/batch.h"
#include "objective/preference.h"

namespace prentice {

// `section` is resolved.
PreferenceOptions preference_options(const PreferenceSection& section);

// sums, reference [S] f64: log-probability of each sequence's answer; `reference` is undefined for a loss without one.
PairScores pair_scores(const Tensor& sums, const Tensor& reference, const Batch&);

// (sum of the pairs' losses) / counts.pairs, and with sft_weight w the cross-entropy of the chosen answers,
// -w (sum of their log-probabilities) / counts.chosen_tokens. A scalar with gradients to `sums`. Metrics:
// rewards.chosen, rewards.rejected, margin, accuracy, logp.chosen, logp.rejected and, with a reference, kl: means over
// the step's pairs.
Tensor preference_share(const Tensor& sums, const Tensor& reference, const Batch&, const Counts&,
                        const PreferenceSection&, Metrics&);

// (sum of the pairs' reward_losses) / counts.pairs. scores [S] f64: of each sequence, with gradients. Metrics:
// rewards.chosen, rewards.rejected, margin, accuracy: means over the step's pairs.
Tensor reward_share(const Tensor& scores, const Batch&, const Counts&, Metrics&);

// What KTO asks of a whole step before its first share.
struct KtoStep {
  Tensor kl;                              // scalar: kto_divergence
  double desirable = 0, undesirable = 0;  // answers
};

// (sum of the answers' KTO losses) / counts.sequences. Metrics as above, the rewards and log-probabilities as means
// over the step's desirable and undesirable answers; an answer is right when its reward lies on its side of beta kl.
Tensor kto_share(const Tensor& sums, const Tensor& reference, const KtoStep& step, const Batch&, const Counts&,
                 const PreferenceSection&, Metrics&);

}  // namespace prentice
