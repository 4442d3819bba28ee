// Losses on preferences: functions of sums of log-probabilities per answer, so that they know neither models nor
// batches. Where those sums come from is sequence_sums.h. Everything is computed in the type of the scores.
#pragma once

#include "config/schema.h"
#include "core/tensor.h"

namespace prentice {

// Sums over the tokens of a completion, its end token included: [P], one a pair. The policy's carry gradients.
struct PairScores {
  Tensor chosen, rejected;
  Tensor reference_chosen, reference_rejected;  // undefined for a loss without a reference
  Tensor chosen_tokens, rejected_tokens;        // how many tokens were summed
};

// The losses of pairs (config/schema.h), with D = (chosen - reference_chosen) - (rejected - reference_rejected), beta
// b, label smoothing e, averages per token p, and log s the log-sigmoid:
//   sigmoid  -log s(b D)                                      DPO, Rafailov et al. 2023, eq. 7
//   cdpo     -(1-e) log s(b D) - e log s(-b D)                conservative DPO, Mitchell 2023
//   robust   (-(1-e) log s(b D) + e log s(-b D)) / (1 - 2e)   Chowdhury et al. 2024
//   hinge    max(0, 1 - b D)                                  SLiC, Zhao et al. 2023
//   ipo      (D - 1/(2b))^2, log-ratios averaged over tokens  Azar et al. 2023, eq. 17
//   orpo     -b log s(log odds(chosen) - log odds(rejected))  Hong et al. 2024, eq. 7, without its NLL term,
//            which is here that of the chosen completion alone (the paper's eq. 6; TRL's is of its prompt, too)
//   simpo    cdpo of b (p_chosen - p_rejected) - gamma        Meng et al. 2024
//   cpo      cdpo of b (chosen - rejected)                    Xu et al. 2024, without its NLL term

struct PreferenceOptions {
  PreferenceLoss loss = PreferenceLoss::sigmoid;
  double beta = 0.1;           // above 0
  double label_smoothing = 0;  // e, from 0 to below 0.5: cdpo, robust, simpo, cpo
  double gamma = 0;            // simpo's margin itself, not its ratio to beta
};

// Losses that are functions of averages per token, not of sums.
bool averages_tokens(PreferenceLoss);

// Loss of every pair, [P], with gradients to the policy's sums. The mean over pairs is the caller's.
Tensor preference_losses(const PairScores&, const PreferenceOptions&);

struct KtoOptions {
  double beta = 0.1;
  double desirable_weight = 1, undesirable_weight = 1;
};

// How far the policy is from its reference: the mean of score - reference over answers to other prompts (each answer
// moved to the next prompt of its batch), detached and at least 0: a scalar. Ethayarajh et al. 2024, section 4.1.
Tensor kto_divergence(const Tensor& mismatched, const Tensor& reference);
// Loss of every answer, [K]: w_D (1 - s(b (r - kl))) where `desirable` [K] holds (bool), w_U (1 - s(b (kl - r))) where
// not, with r = score - reference. Eq. 8 of the same.
Tensor kto_losses(const Tensor& scores, const Tensor& reference, const Tensor& desirable, const Tensor& kl,
                  const KtoOptions&);

// -log s(chosen - rejected) of the scores [P] that a reward model gives (Bradley and Terry 1952).
Tensor reward_losses(const Tensor& chosen, const Tensor& rejected);

// What is logged of each pair, [P], detached. A reward is beta (score - reference), or beta times the score where the
// loss has no reference (the average per token for orpo and simpo); the accuracy is 1 where the chosen answer's is
// strictly the greater. `kl` estimates the distance from the reference: the mean of score - reference over both
// answers; undefined without a reference.
struct PreferenceMetrics {
  Tensor chosen_reward, rejected_reward, margin, accuracy;
  Tensor chosen_log_prob, rejected_log_prob;  // sums
  Tensor kl;
};
PreferenceMetrics preference_metrics(const PairScores&, const PreferenceOptions&);

}  // namespace prentice
