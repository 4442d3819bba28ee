#include "objective/preference.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/log_sigmoid.h>
#include <ATen/ops/where.h>

#include <cmath>
#include <limits>

#include "config/preference_rules.h"
#include "core/error.h"

namespace prentice {

namespace {

// -(1-e) log s(x) - e log s(-x)
Tensor smoothed(const Tensor& x, double smoothing) {
  const Tensor plain = at::log_sigmoid(x).neg();
  return smoothing == 0 ? plain : plain * (1 - smoothing) - at::log_sigmoid(x.neg()) * smoothing;
}

// log(1 - e^x) for x < 0, by the branch that does not cancel (Maechler 2012). Each branch sees only its own side, since
// the gradient of the other one is infinite there.
Tensor log1mexp(const Tensor& x) {
  const Tensor far = x.clamp_max(-M_LN2).exp().neg().log1p(), near = x.clamp_min(-M_LN2).expm1().neg().log();
  return at::where(x.lt(-M_LN2), far, near);
}

// log(p / (1 - p)) of an average log-probability. One that rounds to 0 has no odds: it stays just below.
Tensor log_odds(const Tensor& log_p) {
  const double least = log_p.scalar_type() == at::kDouble ? std::numeric_limits<double>::epsilon()
                                                          : std::numeric_limits<float>::epsilon();
  const Tensor below = log_p.clamp_max(-least);
  return below - log1mexp(below);
}

Tensor average(const Tensor& sums, const Tensor& tokens) { return sums / tokens.to(sums.scalar_type()).clamp_min(1); }

// The answers' own part of the loss, before beta: log-ratios to the reference or log-probabilities.
struct Sides {
  Tensor chosen, rejected;
};

Sides sides(const PairScores& scores, PreferenceLoss loss) {
  Sides of{scores.chosen, scores.rejected};
  if (needs_reference(loss)) {
    of.chosen = of.chosen - scores.reference_chosen, of.rejected = of.rejected - scores.reference_rejected;
  }
  if (averages_tokens(loss)) {
    of.chosen = average(of.chosen, scores.chosen_tokens), of.rejected = average(of.rejected, scores.rejected_tokens);
  }
  return of;
}

}  // namespace

bool averages_tokens(PreferenceLoss loss) {
  return loss == PreferenceLoss::ipo || loss == PreferenceLoss::orpo || loss == PreferenceLoss::simpo;
}

Tensor preference_losses(const PairScores& scores, const PreferenceOptions& options) {
  const auto [chosen, rejected] = sides(scores, options.loss);
  const double beta = options.beta, smoothing = options.label_smoothing;
  const Tensor margin = chosen - rejected;
  switch (options.loss) {
    case PreferenceLoss::sigmoid:
      return smoothed(margin * beta, 0);
    case PreferenceLoss::cdpo:
    case PreferenceLoss::cpo:
      return smoothed(margin * beta, smoothing);
    case PreferenceLoss::robust: {
      const Tensor x = margin * beta;
      return (at::log_sigmoid(x.neg()) * smoothing - at::log_sigmoid(x) * (1 - smoothing)) / (1 - 2 * smoothing);
    }
    case PreferenceLoss::hinge:
      return (margin * -beta + 1).clamp_min(0);
    case PreferenceLoss::ipo:
      return (margin - 1 / (2 * beta)).square();
    case PreferenceLoss::orpo:
      return smoothed(log_odds(chosen) - log_odds(rejected), 0) * beta;
    case PreferenceLoss::simpo:
      return smoothed(margin * beta - options.gamma, smoothing);
    case PreferenceLoss::kto:
      break;  // of single answers: kto_losses
  }
  fail(ExitCode::internal, "preference: no such loss of pairs");
}

Tensor kto_divergence(const Tensor& mismatched, const Tensor& reference) {
  return (mismatched.detach() - reference.detach()).mean().clamp_min(0);
}

Tensor kto_losses(const Tensor& scores, const Tensor& reference, const Tensor& desirable, const Tensor& kl,
                  const KtoOptions& options) {
  const Tensor gain = (scores - reference - kl) * options.beta;
  // 1 - s(x) = s(-x), which does not cancel.
  return at::where(desirable, gain.neg().sigmoid() * options.desirable_weight,
                   gain.sigmoid() * options.undesirable_weight);
}

Tensor reward_losses(const Tensor& chosen, const Tensor& rejected) { return smoothed(chosen - rejected, 0); }

PreferenceMetrics preference_metrics(const PairScores& scores, const PreferenceOptions& options) {
  PairScores now = scores;
  now.chosen = scores.chosen.detach(), now.rejected = scores.rejected.detach();
  PreferenceMetrics of{.chosen_log_prob = now.chosen, .rejected_log_prob = now.rejected};
  const bool averaged = averages_tokens(options.loss) && !needs_reference(options.loss);
  const auto reward = [&](const Tensor& score, const Tensor& reference, const Tensor& tokens) {
    if (needs_reference(options.loss)) return (score - reference) * options.beta;
    return (averaged ? average(score, tokens) : score) * options.beta;
  };
  of.chosen_reward = reward(now.chosen, now.reference_chosen, now.chosen_tokens);
  of.rejected_reward = reward(now.rejected, now.reference_rejected, now.rejected_tokens);
  of.margin = of.chosen_reward - of.rejected_reward;
  of.accuracy = of.margin.gt(0).to(of.margin.scalar_type());
  if (needs_reference(options.loss)) {
    of.kl = (now.chosen - now.reference_chosen + now.rejected - now.reference_rejected) * 0.5;
  }
  return of;
}

}  // namespace prentice
