#include "eval/preference.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/error.h"
#include "data/steps.h"
#include "objective/preference_share.h"
#include "objective/sequence_sums.h"

namespace prentice {

namespace {

using Sequences = std::vector<const Sequence*>;

// Of the examples of one batch.
struct Scores {
  Tensor losses, margins, right;
};

std::vector<double> host_values(const Tensor& values) {
  const Tensor host = values.to(at::kCPU, at::kDouble).contiguous();
  return {host.const_data_ptr<double>(), host.const_data_ptr<double>() + host.numel()};
}

Sequences sequences_to_score(const AnswerRows& rows) {
  Sequences sequences;
  for (const auto& sequence : rows.data.encoded.sequences) {
    if (rows.limit == 0 || sequence.sample < rows.limit) sequences.push_back(&sequence);
  }
  return sequences;
}

// Calls visit(batch) for batches on the device, until stopped.
void visit_batches(const AnswerRows& rows, const Sequences& sequences, const std::function<void(const Batch&)>& visit) {
  const auto one = [&](const Batch& host) {
    if (!rows.stop || !rows.stop()) visit(to_device(host, rows.device));
  };
  collate_in_order(sequences, rows.micro_tokens, one, rows.data.encoded.group);
}

// Over all of the rows at once: each answer goes to the next one's prompt.
Tensor divergence(const PreferenceInput& input, const Sequences& sequences) {
  std::vector<Sequence> made;
  for (size_t i = 0; i < sequences.size() && sequences.size() > 1; ++i) {
    made.push_back(mismatched(*sequences[i], *sequences[(i + sequences.size() - 1) % sequences.size()]));
  }
  Sequences rotated;
  for (const auto& sequence : made) rotated.push_back(&sequence);
  std::vector<Tensor> policy, reference;
  visit_batches(input.rows, rotated, [&](const Batch& batch) {
    reference.push_back(input.reference(batch));
    policy.push_back(input.policy(batch));
  });
  if (policy.empty()) return at::zeros({}, at::TensorOptions().dtype(at::kDouble).device(input.rows.device));
  return kto_divergence(at::cat(policy), at::cat(reference));
}

Scores score_pairs(const PreferenceInput& input, const Batch& batch) {
  const PreferenceOptions options = preference_options(input.section);
  const PairScores scores = pair_scores(input.policy(batch), input.reference(batch), batch);
  const PreferenceMetrics found = preference_metrics(scores, options);
  return {preference_losses(scores, options), found.margin, found.accuracy};
}

// The margin of an answer is how far its reward lies on its own side of the divergence.
Scores score_answers(const PreferenceInput& input, const Batch& batch, const Tensor& kl) {
  const double beta = input.section.beta.value();
  const Tensor policy = input.policy(batch), reference = input.reference(batch);
  const Tensor desirable = batch.role.eq(kChosen);
  const Tensor side = desirable.to(at::kDouble) * 2 - 1;
  const Tensor margins = (policy - reference - kl) * side * beta;
  return {kto_losses(policy, reference, desirable, kl, {.beta = beta}), margins, margins.gt(0)};
}

// Adds up what `score` gives of each batch, in the order of the rows.
PreferenceResult score_rows(const AnswerRows& rows, const Sequences& sequences,
                            const std::function<Scores(const Batch&)>& score) {
  PreferenceResult result;
  double loss = 0, margin = 0, correct = 0;
  visit_batches(rows, sequences, [&](const Batch& batch) {
    const Scores scores = score(batch);
    const auto losses = host_values(scores.losses), margins = host_values(scores.margins);
    const auto right = host_values(scores.right);
    for (size_t i = 0; i < losses.size(); ++i) {
      const auto index = static_cast<int64_t>(result.examples.size());
      if (std::isnan(losses[i])) {
        const auto& origin = rows.data.encoded.origins.at(static_cast<size_t>(index));
        fail(ExitCode::numerical, fmt::format("the preference loss of {} is not a number", to_string(origin)),
             "the model's weights, or what is computed from them in run.precision, are not finite");
      }
      loss += losses[i], margin += margins[i], correct += right[i];
      result.examples.push_back({index, losses[i], margins[i]});
    }
    if (rows.progress) rows.progress(static_cast<int64_t>(result.examples.size()));
  });
  result.count = static_cast<int64_t>(result.examples.size());
  const double count = std::max<double>(1, static_cast<double>(result.count));
  result.loss = loss / count, result.margin = margin / count, result.accuracy = correct / count;
  return result;
}

}  // namespace

PreferenceResult score_preference(const PreferenceInput& input) {
  const c10::NoGradGuard no_grad;
  const Sequences sequences = sequences_to_score(input.rows);
  const bool single = input.section.loss == PreferenceLoss::kto;
  const Tensor kl = single ? divergence(input, sequences) : Tensor();
  return score_rows(input.rows, sequences, [&](const Batch& batch) {
    return single ? score_answers(input, batch, kl) : score_pairs(input, batch);
  });
}

PreferenceResult score_rewards(const AnswerRows& rows, const std::function<Tensor(const Batch&)>& scores) {
  const c10::NoGradGuard no_grad;
  return score_rows(rows, sequences_to_score(rows), [&](const Batch& batch) -> Scores {
    const int64_t pairs = batch.role.size(0) / 2;
    const Tensor all = scores(batch);
    const Tensor chosen = of_role(all, batch, kChosen, pairs), rejected = of_role(all, batch, kRejected, pairs);
    return {reward_losses(chosen, rejected), chosen - rejected, chosen.gt(rejected)};
  });
}

EvalReport preference_report(const EvalSection& section, const std::function<PreferenceResult()>& score) {
  EvalReport report;
  report.preference.emplace();
  check_gates(report, section.require);  // names first: a mistake must not wait for the scores
  report.preference = score();
  report.gates = check_gates(report, section.require);
  return report;
}

}  // namespace prentice
