#include "objective/preference_share.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/sum.h>

#include "core/error.h"
#include "objective/sequence_sums.h"

namespace prentice {

PreferenceOptions preference_options(const PreferenceSection& section) {
  return {.loss = section.loss,
          .beta = section.beta.value(),
          .label_smoothing = section.label_smoothing.value(),
          .gamma = section.gamma.value()};
}

PairScores pair_scores(const Tensor& sums, const Tensor& reference, const Batch& batch) {
  const int64_t pairs = batch.role.size(0) / 2;
  const Tensor tokens = sequence_tokens(batch);
  PairScores scores{.chosen = of_role(sums, batch, kChosen, pairs),
                    .rejected = of_role(sums, batch, kRejected, pairs),
                    .chosen_tokens = of_role(tokens, batch, kChosen, pairs),
                    .rejected_tokens = of_role(tokens, batch, kRejected, pairs)};
  if (reference.defined()) {
    scores.reference_chosen = of_role(reference, batch, kChosen, pairs);
    scores.reference_rejected = of_role(reference, batch, kRejected, pairs);
  }
  return scores;
}

Tensor preference_share(const Tensor& sums, const Tensor& reference, const Batch& batch, const Counts& counts,
                        const PreferenceSection& section, Metrics& metrics) {
  if (!(counts.pairs > 0)) fail(ExitCode::internal, "preference loss: the step counts no pairs");
  const PreferenceOptions options = preference_options(section);
  const PairScores scores = pair_scores(sums, reference, batch);
  const PreferenceMetrics found = preference_metrics(scores, options);
  const std::pair<const char*, const Tensor*> named[] = {{"rewards.chosen", &found.chosen_reward},
                                                         {"rewards.rejected", &found.rejected_reward},
                                                         {"margin", &found.margin},
                                                         {"accuracy", &found.accuracy},
                                                         {"logp.chosen", &found.chosen_log_prob},
                                                         {"logp.rejected", &found.rejected_log_prob},
                                                         {"kl", &found.kl}};
  for (const auto& [name, values] : named) {
    if (values->defined()) metrics[name] = values->sum() / counts.pairs;
  }
  Tensor share = preference_losses(scores, options).sum() / counts.pairs;
  const double sft_weight = section.sft_weight.value();
  if (sft_weight > 0) share = share - scores.chosen.sum() * (sft_weight / counts.chosen_tokens);
  return share;
}

Tensor reward_share(const Tensor& scores, const Batch& batch, const Counts& counts, Metrics& metrics) {
  if (!(counts.pairs > 0)) fail(ExitCode::internal, "reward loss: the step counts no pairs");
  const int64_t pairs = batch.role.size(0) / 2;
  const Tensor chosen = of_role(scores, batch, kChosen, pairs), rejected = of_role(scores, batch, kRejected, pairs);
  const Tensor margins = (chosen - rejected).detach();
  metrics["rewards.chosen"] = chosen.detach().sum() / counts.pairs;
  metrics["rewards.rejected"] = rejected.detach().sum() / counts.pairs;
  metrics["margin"] = margins.sum() / counts.pairs;
  metrics["accuracy"] = margins.gt(0).to(at::kDouble).sum() / counts.pairs;
  return reward_losses(chosen, rejected).sum() / counts.pairs;
}

Tensor kto_share(const Tensor& sums, const Tensor& reference, const KtoStep& step, const Batch& batch,
                 const Counts& counts, const PreferenceSection& section, Metrics& metrics) {
  if (!(counts.sequences > 0)) fail(ExitCode::internal, "preference loss: the step counts no answers");
  const double beta = section.beta.value();
  const Tensor desirable = batch.role.eq(kChosen);
  const Tensor log_probs = sums.detach(), rewards = (log_probs - reference) * beta;
  const auto mean_of = [](const Tensor& values, const Tensor& taken, double count) {
    return (values * taken.to(values.scalar_type())).sum() / count;
  };
  if (step.desirable > 0) {
    metrics["rewards.chosen"] = mean_of(rewards, desirable, step.desirable);
    metrics["logp.chosen"] = mean_of(log_probs, desirable, step.desirable);
  }
  if (step.undesirable > 0) {
    metrics["rewards.rejected"] = mean_of(rewards, desirable.logical_not(), step.undesirable);
    metrics["logp.rejected"] = mean_of(log_probs, desirable.logical_not(), step.undesirable);
  }
  if (step.desirable > 0 && step.undesirable > 0) {
    metrics["margin"] = metrics["rewards.chosen"] - metrics["rewards.rejected"];
  }
  metrics["accuracy"] = rewards.gt(step.kl * beta).eq(desirable).to(at::kDouble).sum() / counts.sequences;
  metrics["kl"] = step.kl * (static_cast<double>(batch.role.size(0)) / counts.sequences);
  return kto_losses(sums, reference, desirable, step.kl, {.beta = beta}).sum() / counts.sequences;
}

}  // namespace prentice
