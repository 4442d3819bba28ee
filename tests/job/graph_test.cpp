// Steps on batches of few shapes, passed again on tensors that stay: the same losses and gradients as those of plain
// steps, on a real decoder.
#include "job/graph.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include "job/graph_steps.h"

namespace prentice {
namespace {

TEST(Graph, FixedShapesGiveTheStepsOfPlainOnes) {
  for (const char* folder : kFolders) {
    for (const auto& [type, tolerance] : {std::pair{at::kDouble, 1e-12}, {at::kFloat, 1e-4}}) {
      const Trained plain = train_steps(folder, type, false, {}), fixed = train_steps(folder, type, true, {});
      EXPECT_LT(worst(fixed.losses, plain.losses), tolerance) << folder;
      EXPECT_LT(worst(fixed.gradients, plain.gradients), tolerance) << folder;
    }
  }
}

TEST(Graph, PassesRunAgainOnTensorsThatStayGiveTheSameBits) {
  for (const char* folder : kFolders) {
    const Trained once = train_steps(folder, at::kFloat, true, {}),
                  again = train_steps(folder, at::kFloat, true, plain_recorder());
    EXPECT_GT(again.replays, 0) << folder;
    for (size_t i = 0; i < once.losses.size(); ++i) {
      EXPECT_TRUE(at::equal(once.losses[i], again.losses[i])) << folder << ", loss of step " << i;
    }
    for (size_t i = 0; i < once.gradients.size(); ++i) {
      EXPECT_TRUE(at::equal(once.gradients[i], again.gradients[i])) << folder << ", gradient " << i;
    }
  }
}

TEST(Graph, WhatCannotBeRecordedRunsAsItIs) {
  const Objective objective = [](const Batch& batch, const Counts&, Metrics&) { return batch.weights.sum(); };
  PassRecorder recorder = plain_recorder();
  recorder.record = [](const std::function<void()>&, std::string& reason) {
    reason = "no such device";
    return std::function<void()>();
  };
  const Tensor weight = at::randn({}).set_requires_grad(true);
  const Objective with_weight = [&](const Batch& batch, const Counts& counts, Metrics& metrics) {
    return objective(batch, counts, metrics).to(at::kFloat) * weight / counts.tokens;
  };
  StepRunner runner(with_weight, {{"weight", weight}}, at::kCPU, recorder);
  Metrics metrics;
  for (int i = 1; i <= 5; ++i) {
    const Batch batch = steps_of(1, 9)[0].micros[0];
    runner.run(batch, {.tokens = 4}, metrics);
    EXPECT_NEAR(weight.grad().item<double>(), i * batch.weights.sum().item<double>() / 4, 1e-5);
    EXPECT_EQ(runner.failure().empty(), i < 3);
  }
  EXPECT_EQ(runner.replays(), 0);
}

TEST(Graph, ItIsDecidedByDeviceModelAndRecipe) {
  const ModelSpec spec;
  const auto decided = [&](Auto<bool> asked, bool is_gpu, bool wins, double dropout) {
    SftRecipe recipe;
    recipe.train.graph = asked;
    recipe.adapter.dropout = dropout;
    decide_graph(recipe, spec, at::kBFloat16, is_gpu, wins);
    return *recipe.train.graph;
  };
  EXPECT_TRUE(decided({}, true, true, 0));
  EXPECT_FALSE(decided({}, false, true, 0));
  EXPECT_FALSE(decided({}, true, false, 0));
  EXPECT_FALSE(decided({}, true, true, 0.05));
  EXPECT_TRUE(decided(true, true, false, 0));
  EXPECT_FALSE(decided(false, true, true, 0));
  EXPECT_THROW(decided(true, false, true, 0), Error);
  EXPECT_THROW(decided(true, true, true, 0.05), Error);
  DpoRecipe preference;
  EXPECT_NE(no_graph_by_recipe(preference, true), "");
}

}  // namespace
}  // namespace prentice
