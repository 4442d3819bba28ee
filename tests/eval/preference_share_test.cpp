// A step's preference loss from batches as data makes them: shares of micro-batches add up, in any packing, with their
// gradients.
#include "objective/preference_share.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <cmath>

#include "config/preference_rules.h"
#include "data/steps.h"

namespace prentice {
namespace {

// Pairs whose answers have 2, 3, ... tokens.
EncodedSet pairs(int64_t count) {
  EncodedSet set{.group = 2};
  for (int64_t i = 0; i < 2 * count; ++i) {
    const int64_t length = 4 + i % 5;
    Sequence sequence{.sample = i / 2, .role = i % 2 == 0 ? kChosen : kRejected};
    sequence.ids.assign(length, 1);
    sequence.labels.assign(length, static_cast<int32_t>(kNoLabel));
    for (int64_t t = 1; t + 1 < length; ++t) sequence.labels[t] = 1;
    set.sequences.push_back(std::move(sequence));
  }
  return set;
}

PreferenceSection section_of(PreferenceLoss loss) {
  return {.loss = loss, .beta = 0.3, .label_smoothing = 0.1, .gamma = 0.5, .sft_weight = 0.7};
}

struct Found {
  double loss = 0;
  Tensor gradient;
  std::map<std::string, double> metrics;
};

// The step's sums and reference come from one table by the first token's id, whatever the packing.
Found whole_step(EncodedSet set, PreferenceLoss loss, const StepOptions& options) {
  for (size_t i = 0; i < set.sequences.size(); ++i) set.sequences[i].ids[0] = static_cast<int32_t>(i);
  const auto count = static_cast<int64_t>(set.sequences.size());
  const Tensor table = at::randn({count}, at::kDouble).sub_(12).requires_grad_();
  const Tensor reference_table = at::randn({count}, at::kDouble).sub_(12);
  const Step step = make_step_source(set, options)->step(0);
  Found found;
  Tensor total;
  for (const auto& batch : step.micros) {
    const Tensor starts = batch.starts.narrow(0, 0, batch.role.size(0)).to(at::kLong);
    const Tensor rows = batch.tokens.index_select(0, starts);
    Metrics metrics;
    const Tensor sums = at::index_select(table, 0, rows);
    const Tensor reference = needs_reference(loss) ? at::index_select(reference_table, 0, rows) : Tensor();
    const Tensor share = preference_share(sums, reference, batch, step.counts, section_of(loss), metrics);
    total = total.defined() ? total + share : share;
    for (const auto& [name, value] : metrics) found.metrics[name] += value.item<double>();
  }
  total.backward();
  found.loss = total.item<double>();
  found.gradient = table.grad();
  return found;
}

TEST(PreferenceShare, EveryPackingGivesTheSameLossGradientAndMetrics) {
  for (const auto loss : {PreferenceLoss::sigmoid, PreferenceLoss::cdpo, PreferenceLoss::robust, PreferenceLoss::hinge,
                          PreferenceLoss::ipo, PreferenceLoss::orpo, PreferenceLoss::simpo, PreferenceLoss::cpo}) {
    const auto run = [&](const StepOptions& options) {
      at::manual_seed(3);
      return whole_step(pairs(7), loss, options);
    };
    const Found whole = run({.batch = 7});
    EXPECT_EQ(whole.metrics.contains("kl"), needs_reference(loss));
    for (const StepOptions& options :
         {StepOptions{.batch = 7, .micro_tokens = 24}, StepOptions{.batch = 7, .packing = false}}) {
      const Found parts = run(options);
      EXPECT_NEAR(parts.loss, whole.loss, 1e-12 * std::abs(whole.loss));
      EXPECT_LT((parts.gradient - whole.gradient).abs().max().item<double>(), 1e-12);
      for (const auto& [name, value] : whole.metrics) EXPECT_NEAR(parts.metrics.at(name), value, 1e-9) << name;
    }
  }
}

TEST(PreferenceShare, AModelEqualToItsReferenceHasLn2AndNoMargin) {
  const auto set = pairs(3);
  const Step step = make_step_source(set, {.batch = 3})->step(0);
  const Tensor sums = at::randn({6}, at::kDouble);
  Metrics metrics;
  auto section = section_of(PreferenceLoss::sigmoid);
  section.sft_weight = 0;
  const Tensor share = preference_share(sums, sums, step.micros[0], step.counts, section, metrics);
  EXPECT_DOUBLE_EQ(share.item<double>(), std::log(2.0));
  for (const char* name : {"margin", "kl", "rewards.chosen", "rewards.rejected"}) {
    EXPECT_EQ(metrics.at(name).item<double>(), 0) << name;
  }
}

TEST(PreferenceShare, TheCrossEntropyBesideItCountsChosenTokensOnly) {
  const auto set = pairs(3);
  const Step step = make_step_source(set, {.batch = 3, .shuffle = false})->step(0);
  const Tensor sums = at::randn({6}, at::kDouble);
  Metrics metrics;
  auto section = section_of(PreferenceLoss::cpo);
  const double with = preference_share(sums, {}, step.micros[0], step.counts, section, metrics).item<double>();
  section.sft_weight = 0;
  const double without = preference_share(sums, {}, step.micros[0], step.counts, section, metrics).item<double>();
  const double* of = sums.const_data_ptr<double>();
  EXPECT_EQ(step.counts.chosen_tokens, 2 + 4 + 6);  // answers of 4, 6 and 8 tokens, of which the inner ones are trained
  EXPECT_NEAR(with - without, -0.7 * (of[0] + of[2] + of[4]) / step.counts.chosen_tokens, 1e-12);
}

// -log sigmoid of the differences, and their signs: by hand from the table.
TEST(RewardShare, EveryPackingGivesTheDefinition) {
  for (const StepOptions& options : {StepOptions{.batch = 7}, StepOptions{.batch = 7, .micro_tokens = 24},
                                     StepOptions{.batch = 7, .packing = false, .shuffle = false}}) {
    EncodedSet set = pairs(7);
    for (size_t i = 0; i < set.sequences.size(); ++i) set.sequences[i].ids[0] = static_cast<int32_t>(i);
    at::manual_seed(5);
    const Tensor table = at::randn({14}, at::kDouble).requires_grad_();
    const Step step = make_step_source(set, options)->step(0);
    Tensor total;
    std::map<std::string, double> metrics;
    for (const auto& batch : step.micros) {
      Metrics found;
      const Tensor rows = batch.tokens.index_select(0, batch.starts.narrow(0, 0, batch.role.size(0)).to(at::kLong));
      const Tensor share = reward_share(at::index_select(table, 0, rows), batch, step.counts, found);
      total = total.defined() ? total + share : share;
      for (const auto& [name, value] : found) metrics[name] += value.item<double>();
    }
    total.backward();
    double loss = 0, margin = 0, right = 0;
    const double *score = table.const_data_ptr<double>(), *slope = table.grad().const_data_ptr<double>();
    for (int i = 0; i < 7; ++i) {
      const double difference = score[2 * i] - score[2 * i + 1];
      loss += std::log1p(std::exp(-difference)) / 7, margin += difference / 7, right += (difference > 0) / 7.0;
      EXPECT_NEAR(slope[2 * i], -1 / (1 + std::exp(difference)) / 7, 1e-12);
      EXPECT_NEAR(slope[2 * i + 1], -slope[2 * i], 1e-12);
    }
    EXPECT_NEAR(total.item<double>(), loss, 1e-12);
    EXPECT_NEAR(metrics.at("margin"), margin, 1e-12);
    EXPECT_NEAR(metrics.at("accuracy"), right, 1e-12);
    EXPECT_NEAR(metrics.at("rewards.chosen") - metrics.at("rewards.rejected"), margin, 1e-12);
  }
}

TEST(KtoShare, PartsOfAStepAddUpAndHaveTheirOwnMeans) {
  EncodedSet set = pairs(4);
  set.group = 1;
  for (size_t i = 0; i < set.sequences.size(); ++i) set.sequences[i].sample = static_cast<int64_t>(i);
  const auto loss_of = [&](const StepOptions& options) {
    at::manual_seed(4);
    const Tensor table = at::randn({8}, at::kDouble), reference = at::randn({8}, at::kDouble);
    for (size_t i = 0; i < set.sequences.size(); ++i) set.sequences[i].ids[0] = static_cast<int32_t>(i);
    const Step step = make_step_source(set, options)->step(0);
    KtoStep whole{.kl = at::tensor(0.2, at::kDouble), .desirable = 4, .undesirable = 4};
    std::map<std::string, double> found;
    for (const auto& batch : step.micros) {
      const Tensor starts = batch.starts.narrow(0, 0, batch.role.size(0)).to(at::kLong);
      const Tensor rows = batch.tokens.index_select(0, starts);
      Metrics metrics;
      found["loss"] += kto_share(table.index_select(0, rows), reference.index_select(0, rows), whole, batch,
                                 step.counts, section_of(PreferenceLoss::kto), metrics)
                           .item<double>();
      for (const auto& [name, value] : metrics) found[name] += value.item<double>();
    }
    return found;
  };
  const auto whole = loss_of({.batch = 8});
  const auto parts = loss_of({.batch = 8, .micro_tokens = 14});
  ASSERT_EQ(whole.size(), parts.size());
  for (const auto& [name, value] : whole) EXPECT_NEAR(parts.at(name), value, 1e-12) << name;
  EXPECT_NEAR(whole.at("kl"), 0.2, 1e-12);
  EXPECT_NEAR(whole.at("margin"), whole.at("rewards.chosen") - whole.at("rewards.rejected"), 1e-12);
}

}  // namespace
}  // namespace prentice
