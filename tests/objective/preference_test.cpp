#include "objective/preference.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cmath>

#include "objective/finite_differences.h"
#include "objective/sequence_sums.h"

namespace prentice {
namespace {

Tensor numbers(std::vector<double> values, c10::ScalarType type = at::kDouble) {
  return at::tensor(values, at::kDouble).to(type);
}

// The two pairs of the golden numbers.
PairScores golden_pairs(c10::ScalarType type) {
  return {.chosen = numbers({-20, -35.5}, type),
          .rejected = numbers({-24, -30.25}, type),
          .reference_chosen = numbers({-21, -36}, type),
          .reference_rejected = numbers({-22.5, -31}, type),
          .chosen_tokens = numbers({10, 14}, type),
          .rejected_tokens = numbers({12, 11}, type)};
}

struct Golden {
  const char* name;
  PreferenceOptions options;
  double first, second;
};

const std::vector<Golden>& golden() {
  using enum PreferenceLoss;
  static const std::vector<Golden> table = {
      {"sigmoid", {.loss = sigmoid, .beta = 0.1}, 0.575939419879, 0.705725303526},
      {"cdpo", {.loss = cdpo, .beta = 0.1, .label_smoothing = 0.1}, 0.600939419879, 0.703225303526},
      {"robust", {.loss = robust, .beta = 0.1, .label_smoothing = 0.1}, 0.544689419879, 0.708850303526},
      {"hinge", {.loss = hinge, .beta = 0.1}, 0.75, 1.025},
      {"ipo", {.loss = ipo, .beta = 0.1}, 22.800625, 25.325729465340},
      {"orpo", {.loss = orpo, .beta = 0.1}, 0.069314718056, 0.058441715995},
      {"simpo", {.loss = simpo, .beta = 2, .gamma = 0.5}, 0.974076984180, 0.729499085845},
      {"cpo", {.loss = cpo, .beta = 0.1}, 0.513015252400, 0.989711754673},
  };
  return table;
}

TEST(Preference, EveryLossEqualsItsGoldenNumbers) {
  for (const auto& [name, options, first, second] : golden()) {
    const Tensor exact = preference_losses(golden_pairs(at::kDouble), options);
    EXPECT_NEAR(exact[0].item<double>(), first, 1e-9) << name;
    EXPECT_NEAR(exact[1].item<double>(), second, 1e-9) << name;
    const Tensor narrow = preference_losses(golden_pairs(at::kFloat), options);
    EXPECT_EQ(narrow.scalar_type(), at::kFloat) << name;
    EXPECT_NEAR(narrow[0].item<double>(), first, 1e-5 * first) << name;
    EXPECT_NEAR(narrow[1].item<double>(), second, 1e-5 * second) << name;
  }
}

TEST(Preference, KtoEqualsItsGoldenNumbers) {
  for (const auto& [type, tolerance] : {std::pair{at::kDouble, 1e-9}, std::pair{at::kFloat, 4e-6}}) {
    const Tensor losses = kto_losses(numbers({-20, -24}, type), numbers({-21, -22.5}, type),
                                     numbers({1, 0}).to(at::kBool), numbers({0.3}, type)[0], {.beta = 0.1});
    EXPECT_NEAR(losses[0].item<double>(), 0.482507142334, tolerance);
    EXPECT_NEAR(losses[1].item<double>(), 0.455121107626, tolerance);
  }
}

TEST(Preference, GradientsAreFiniteDifferences) {
  for (const auto& [name, options, first, second] : golden()) {
    PairScores scores = golden_pairs(at::kDouble);
    scores.chosen.requires_grad_(), scores.rejected.requires_grad_();
    const auto loss = [&] { return preference_losses(scores, options).sum(); };
    expect_finite_differences(loss, {scores.chosen, scores.rejected}, 1e-7, name);
  }
  const Tensor scores = numbers({-20, -24, -3}).requires_grad_(), reference = numbers({-21, -22.5, -4});
  const Tensor desirable = numbers({1, 0, 1}).to(at::kBool), kl = numbers({0.3})[0];
  const KtoOptions options{.beta = 0.3, .desirable_weight = 1.5, .undesirable_weight = 0.75};
  expect_finite_differences([&] { return kto_losses(scores, reference, desirable, kl, options).sum(); }, {scores}, 1e-7,
                            "kto");
  const Tensor other = numbers({1, -2, 0.5}).requires_grad_();
  expect_finite_differences([&] { return reward_losses(scores, other).sum(); }, {scores, other}, 1e-7, "reward");
}

TEST(Preference, LossesAndGradientsStayFiniteForExtremeScores) {
  for (const auto& [name, options, first, second] : golden()) {
    for (const auto type : {at::kDouble, at::kFloat}) {
      PairScores scores = golden_pairs(type);
      // A certain answer, one that nobody would give, and one next to certain.
      scores.chosen = numbers({0, -9000}, type).requires_grad_();
      scores.rejected = numbers({-5000, -1e-9}, type).requires_grad_();
      const Tensor losses = preference_losses(scores, options);
      losses.sum().backward();
      const Tensor all = at::cat({losses, scores.chosen.grad(), scores.rejected.grad()});
      EXPECT_TRUE(at::isfinite(all).all().item<bool>()) << name << "\n" << all;
    }
  }
}

TEST(Preference, APolicyThatIsItsReferenceHasLnTwoAndNoMargin) {
  PairScores scores = golden_pairs(at::kDouble);
  scores.chosen = scores.reference_chosen, scores.rejected = scores.reference_rejected;
  for (const PreferenceLoss loss : {PreferenceLoss::sigmoid, PreferenceLoss::cdpo, PreferenceLoss::robust}) {
    const PreferenceOptions options{.loss = loss, .label_smoothing = 0.2};
    EXPECT_NEAR(preference_losses(scores, options).mean().item<double>(), M_LN2, 1e-15);
    const PreferenceMetrics metrics = preference_metrics(scores, options);
    EXPECT_EQ(metrics.margin.abs().max().item<double>(), 0);
    EXPECT_EQ(metrics.kl.abs().max().item<double>(), 0);
  }
}

TEST(Preference, MetricsAreRewardsOfTheLossAndCarryNoGradient) {
  PairScores scores = golden_pairs(at::kDouble);
  scores.chosen.requires_grad_(), scores.rejected.requires_grad_();
  const PreferenceMetrics dpo = preference_metrics(scores, {.loss = PreferenceLoss::sigmoid, .beta = 0.1});
  const auto expect = [](const Tensor& found, double first, double second) {
    EXPECT_FALSE(found.requires_grad());
    EXPECT_NEAR(found[0].item<double>(), first, 1e-12);
    EXPECT_NEAR(found[1].item<double>(), second, 1e-12);
  };
  expect(dpo.chosen_reward, 0.1, 0.05);
  expect(dpo.rejected_reward, -0.15, 0.075);
  expect(dpo.margin, 0.25, -0.025);
  expect(dpo.accuracy, 1, 0);
  expect(dpo.chosen_log_prob, -20, -35.5);
  expect(dpo.rejected_log_prob, -24, -30.25);
  expect(dpo.kl, (1 - 1.5) / 2, (0.5 + 0.75) / 2);
  const PreferenceMetrics simpo = preference_metrics(scores, {.loss = PreferenceLoss::simpo, .beta = 2});
  expect(simpo.chosen_reward, -4, 2 * -35.5 / 14);
  expect(simpo.rejected_reward, -4, 2 * -30.25 / 11);
  expect(simpo.accuracy, 0, 1);  // an equal reward is no win
  EXPECT_FALSE(simpo.kl.defined());
  expect(preference_metrics(scores, {.loss = PreferenceLoss::cpo, .beta = 0.1}).chosen_reward, -2, -3.55);
}

TEST(Preference, KtosDivergenceIsAMeanThatIsNeverNegativeAndHasNoGradient) {
  const Tensor scores = numbers({-10, -12}).requires_grad_();
  const Tensor found = kto_divergence(scores, numbers({-11, -12.5}));
  EXPECT_DOUBLE_EQ(found.item<double>(), 0.75);
  EXPECT_FALSE(found.requires_grad());
  EXPECT_EQ(kto_divergence(scores, numbers({-1, -1})).item<double>(), 0);
}

TEST(Preference, ARewardModelThatSeesNoDifferenceHasLnTwo) {
  const Tensor losses = reward_losses(numbers({3, 1}), numbers({3, -1}));
  EXPECT_NEAR(losses[0].item<double>(), M_LN2, 1e-15);
  EXPECT_NEAR(losses[1].item<double>(), std::log1p(std::exp(-2.0)), 1e-15);
}

// Sequences of 4, 3 and 5 tokens; the last position of each has no label, nor has the first of the second.
Batch three_sequences() {
  Batch batch;
  batch.labels = at::ones({12}, at::kLong);
  batch.target_rows = at::tensor({0, 1, 2, 5, 7, 8, 9, 10}, at::kLong);
  batch.weights = at::zeros({12}, at::kFloat);
  batch.weights.index_fill_(0, batch.target_rows, 1);
  batch.weights[10] = 0.25;
  batch.starts = at::tensor({0, 4, 7, 12}, at::kInt);
  batch.role = at::tensor({1, 0, 0}, at::kInt);
  batch.pair = at::tensor({0, 0, 1}, at::kInt);
  return batch;
}

TEST(SequenceSums, AddUpTheWeightedRowsOfEachSequence) {
  const Batch batch = three_sequences();
  const Tensor values = numbers({1, 2, 4, 8, 16, 32, 64, 128}).requires_grad_();
  const Tensor sums = sequence_sums(values, batch);
  EXPECT_EQ(sums.scalar_type(), at::kDouble);
  EXPECT_TRUE(sums.equal(numbers({7, 8, 16 + 32 + 64 + 32})));
  EXPECT_TRUE(sequence_tokens(batch).equal(numbers({3, 1, 3.25})));
  sums.dot(numbers({1, 10, 100})).backward();
  EXPECT_TRUE(values.grad().equal(numbers({1, 1, 1, 10, 100, 100, 100, 25})));
}

TEST(SequenceSums, PaddingAddsNothing) {
  Batch batch = three_sequences();
  const Tensor values = numbers({1, 2, 4, 8, 16, 32, 64, 128}), plain = sequence_sums(values, batch);
  batch.target_rows = at::cat({batch.target_rows, at::tensor({3, 11, 3}, at::kLong)});
  batch.starts = at::tensor({0, 4, 7, 12, 12, 12}, at::kInt);
  const Tensor padded = sequence_sums(at::cat({values, numbers({-3, -5, -7})}), batch);
  EXPECT_TRUE(padded.equal(at::cat({plain, numbers({0, 0})})));
}

TEST(SequenceSums, DoNotDependOnWhatElseIsInTheBatch) {
  const int64_t length = 3001;
  const Tensor values = at::randn({2 * length}, at::kFloat);
  const auto batch_of = [&](int64_t sequences) {
    Batch batch;
    batch.labels = at::ones({sequences * length}, at::kLong);
    batch.weights = at::ones({sequences * length}, at::kFloat);
    batch.target_rows = at::arange(sequences * length, at::kLong);
    batch.starts = at::arange(sequences + 1, at::kInt) * length;
    return batch;
  };
  const double alone = sequence_sums(values.narrow(0, length, length), batch_of(1))[0].item<double>();
  EXPECT_EQ(sequence_sums(values, batch_of(2))[1].item<double>(), alone);
  EXPECT_NEAR(alone, values.narrow(0, length, length).to(at::kDouble).sum().item<double>(), 1e-10);
}

TEST(SequenceSums, RolesAreReadInTheOrderOfTheirPairs) {
  Batch batch;
  batch.role = at::tensor({1, 0, 0, 1, 0}, at::kInt);
  batch.pair = at::tensor({1, 0, 1, 0, -1}, at::kInt);  // the last sequence is padding
  const Tensor values = numbers({1, 2, 3, 4, 5}).requires_grad_();
  const Tensor chosen = of_role(values, batch, kChosen, 2);
  EXPECT_TRUE(chosen.equal(numbers({2, 3})));
  EXPECT_TRUE(of_role(values, batch, kRejected, 2).equal(numbers({4, 1})));
  chosen.dot(numbers({10, 100})).backward();
  EXPECT_TRUE(values.grad().equal(numbers({0, 10, 100, 0, 0})));
}

}  // namespace
}  // namespace prentice
