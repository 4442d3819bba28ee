#include "train/loop.h"

#include <ATen/ops/full.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <sstream>
#include <stdexcept>

#include "core/error.h"
#include "io/file.h"
#include "io/json.h"
#include "run/checkpoint.h"
#include "train/toy.h"

namespace prentice {
namespace {

std::vector<Json> lines_of(const std::filesystem::path& file) {
  std::vector<Json> lines;
  std::istringstream text(read_text_file(file));
  for (std::string line; std::getline(text, line);) lines.push_back(Json::parse(line));
  return lines;
}

TEST(Loop, LearnsAndLeavesALineForEveryStep) {
  toy::TempDir dir;
  const toy::Network network;
  const auto config = toy::config_for(dir / "run");
  const auto result = train(config, network.trainable(), toy::Source(), network.objective(), {});
  EXPECT_EQ(result.steps, 28);
  EXPECT_EQ(result.input_tokens, 4 * toy::kRows);
  EXPECT_EQ(result.trained_tokens, 4 * toy::kRows);
  const auto lines = lines_of(config.out / "metrics.jsonl");
  ASSERT_EQ(lines.size(), 28);
  for (int64_t i = 0; i < 28; ++i) {
    const auto& line = lines[static_cast<size_t>(i)];
    EXPECT_EQ(line.at("schema").as_integer(), 1);
    EXPECT_EQ(line.at("run_id").as_string(), "toy");
    EXPECT_EQ(line.at("step").as_integer(), i + 1);
    EXPECT_DOUBLE_EQ(line.at("epoch").as_number(), static_cast<double>(i + 1) / 7);
    EXPECT_GT(line.at("grad_norm").as_number(), 0);
    EXPECT_NEAR(line.at("half").as_number(), line.at("loss").as_number() / 2, 1e-6);
    const bool logged = (i + 1) % 5 == 0 || i == 0 || i == 27;
    EXPECT_EQ(line.find("state") != nullptr, logged);
    EXPECT_EQ(line.find("tokens_per_second") != nullptr, logged);
  }
  EXPECT_EQ(lines[0].at("lr").as_number(), 0);
  EXPECT_EQ(lines[3].at("lr").as_number(), 0.02);
  EXPECT_DOUBLE_EQ(result.last_loss, lines.back().at("loss").as_number());
  EXPECT_LT(result.last_loss, 0.5 * lines.front().at("loss").as_number());
}

TEST(Loop, MicroBatchesAddUpToOneBatch) {
  toy::TempDir dir;
  std::vector<std::vector<Json>> runs;
  for (const int64_t micro : {1, 4, 100}) {
    const toy::Network network;
    auto config = toy::config_for(dir / std::to_string(micro));
    config.optimizer.name = OptimizerName::sgd;
    config.optimizer.lr = 1e-3;
    train(config, network.trainable(), toy::Source({.micro = micro}), network.objective(), {});
    runs.push_back(lines_of(config.out / "metrics.jsonl"));
  }
  for (const char* key : {"loss", "grad_norm", "half"}) {
    double largest = 0;  // rounding is of the size of what is subtracted, however little is left of it
    for (const Json& line : runs[2]) largest = std::max(largest, line.at(key).as_number());
    for (size_t i = 0; i < runs[0].size(); ++i) {
      const double one = runs[2][i].at(key).as_number();
      EXPECT_NEAR(runs[0][i].at(key).as_number(), one, 1e-6 * largest) << key << " of step " << i + 1;
      EXPECT_NEAR(runs[1][i].at(key).as_number(), one, 1e-6 * largest) << key << " of step " << i + 1;
    }
  }
}

// Trains with an objective that `spoil` may change from step `from` on; returns the error.
std::optional<Error> train_spoiled(const TrainConfig& config, const toy::Network& network, int64_t from,
                                   const std::function<Tensor(const Tensor& share)>& spoil) {
  int64_t step = 0;
  const Hooks hooks{.before_step = [&](int64_t index) { step = index + 1; }};
  const Objective objective = [&](const Batch& batch, const Counts& counts, Metrics&) {
    const Tensor share = network.share(batch, counts);
    return step >= from ? spoil(share) : share;
  };
  try {
    train(config, network.trainable(), toy::Source(), objective, hooks);
  } catch (const Error& error) {
    return error;
  } catch (const std::runtime_error&) {
  }
  return std::nullopt;
}

TEST(Loop, ANumberThatIsNotFiniteStopsBeforeTheWeightsMove) {
  toy::TempDir dir;
  const toy::Network untouched;
  train_spoiled(toy::config_for(dir / "stopped"), untouched, 12,
                [](const Tensor&) -> Tensor { throw std::runtime_error("stop"); });
  const toy::Network* current = nullptr;
  const std::map<std::string, std::function<Tensor(const Tensor&)>> spoilers = {
      {"nan loss", [](const Tensor& share) { return share.mul(NAN); }},
      {"infinite loss", [](const Tensor& share) { return share.mul(INFINITY); }},
      {"infinite loss, finite gradient", [](const Tensor& share) { return share.add(INFINITY); }},
      {"finite loss, nan gradient", [&](const Tensor& share) { return share.add(current->a.mul(0).sqrt().sum()); }},
  };
  for (const auto& [name, spoil] : spoilers) {
    const toy::Network network;
    current = &network;
    const auto config = toy::config_for(dir / name);
    const auto error = train_spoiled(config, network, 12, spoil);
    ASSERT_TRUE(error.has_value()) << name;
    EXPECT_EQ(error->code(), ExitCode::numerical);
    EXPECT_TRUE(std::string(error->what()).starts_with("step 12: not finite: loss ")) << error->what();
    EXPECT_TRUE(std::string(error->what()).ends_with("no weight has moved since step 11")) << error->what();
    for (size_t i = 0; i < 3; ++i) {
      EXPECT_TRUE(network.trainable()[i].second.equal(untouched.trainable()[i].second)) << name;
    }
    EXPECT_EQ(lines_of(config.out / "metrics.jsonl").back().at("step").as_integer(), 11) << name;
    EXPECT_EQ(checkpoint_steps(config.out), (std::vector<int64_t>{0, 6})) << name;
  }
}

TEST(Loop, WeightsThatAreNotFiniteAreNeverSaved) {
  toy::TempDir dir;
  const toy::Network network;
  const auto config = toy::config_for(dir / "run");
  const Hooks hooks{.before_step = [&](int64_t index) {
    if (index == 5) network.bias.detach().fill_(NAN);
  }};
  // An objective without the bias: neither loss nor gradient shows it.
  const Objective objective = [&](const Batch& batch, const Counts& counts, Metrics&) {
    toy::Network without;
    without.a = network.a, without.b = network.b;
    return without.share(batch, counts);
  };
  try {
    train(config, network.trainable(), toy::Source(), objective, hooks);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::numerical);
    EXPECT_EQ(std::string(error.what()), "step 6: the weight layer.bias is not finite");
  }
  EXPECT_EQ(checkpoint_steps(config.out), (std::vector<int64_t>{0}));
}

// Evaluations that give `losses` in turn.
Hooks evaluating(std::vector<double> losses, std::shared_ptr<size_t> calls) {
  return {.evaluate = [=] { return std::map<std::string, double>{{"eval.loss", losses.at((*calls)++)}}; }};
}

TEST(Loop, EvaluatesAtStartEachEpochAndEnd) {
  toy::TempDir dir;
  const toy::Network network;
  const auto config = toy::config_for(dir / "run");
  const auto calls = std::make_shared<size_t>(0);
  const auto result =
      train(config, network.trainable(), toy::Source(), network.objective(), evaluating({5, 4, 2, 3, 2.5}, calls));
  EXPECT_EQ(*calls, 5);
  EXPECT_EQ(result.first_eval.at("eval.loss"), 5);
  EXPECT_EQ(result.last_eval.at("eval.loss"), 2.5);
  EXPECT_EQ(result.best_step, 14);
  std::vector<int64_t> steps;
  for (const auto& line : lines_of(config.out / "metrics.jsonl")) {
    if (line.find("eval.loss") != nullptr) steps.push_back(line.at("step").as_integer());
  }
  EXPECT_EQ(steps, (std::vector<int64_t>{0, 7, 14, 21, 28}));
}

TEST(Loop, SelectedStepIsKeptAndItsWeightsAreLeftInMemory) {
  toy::TempDir dir;
  const toy::Network network;
  auto config = toy::config_for(dir / "run");
  config.select = Select::eval_loss;
  std::vector<Tensor> best;
  auto hooks = evaluating({5, 2, 3, 4, 4}, std::make_shared<size_t>(0));
  hooks.before_step = [&](int64_t index) {
    if (index != 7) return;
    for (const auto& [name, tensor] : network.trainable()) best.push_back(tensor.detach().clone());
  };
  const auto result = train(config, network.trainable(), toy::Source(), network.objective(), hooks);
  EXPECT_EQ(result.best_step, 7);
  EXPECT_EQ(result.best_metric, 2);
  EXPECT_EQ(checkpoint_steps(config.out), (std::vector<int64_t>{7, 24, 28}));
  for (size_t i = 0; i < 3; ++i) EXPECT_TRUE(network.trainable()[i].second.equal(best[i]));
}

TEST(Loop, SelectingWithoutEvaluationsIsRefusedBeforeTheFirstStep) {
  toy::TempDir dir;
  const toy::Network network;
  const Tensor before = network.a.detach().clone();
  auto config = toy::config_for(dir / "run");
  config.select = Select::eval_loss;
  try {
    train(config, network.trainable(), toy::Source(), network.objective(), {});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::internal);
  }
  EXPECT_TRUE(network.a.equal(before));
  EXPECT_TRUE(checkpoint_steps(config.out).empty());
}

TEST(Loop, WithoutEvaluationsThereIsNoBestStep) {
  toy::TempDir dir;
  const toy::Network network;
  const auto result = train(toy::config_for(dir / "run"), network.trainable(), toy::Source(), network.objective(), {});
  EXPECT_FALSE(result.best_step);
  EXPECT_EQ(result.selected_by, "");
}

TEST(Loop, PatienceEndsTheRunAndARerunDoesNotGoOn) {
  toy::TempDir dir;
  auto config = toy::config_for(dir / "run");
  config.patience = 2;
  config.eval_every = 3;
  for (int run = 0; run < 2; ++run) {
    const toy::Network network;
    const auto calls = std::make_shared<size_t>(0);
    const auto result =
        train(config, network.trainable(), toy::Source(), network.objective(), evaluating({5, 3, 4, 3.5}, calls));
    EXPECT_EQ(result.steps, 9);
    EXPECT_EQ(result.best_step, 3);
    EXPECT_EQ(result.best_metric, 3);
    EXPECT_EQ(*calls, run == 0 ? 4 : 0);
  }
  EXPECT_EQ(checkpoint_steps(config.out).back(), 9);
}

TEST(Loop, DataWithoutAStepIsRefused) {
  toy::TempDir dir;
  const toy::Network network;
  try {
    train(toy::config_for(dir / "run"), network.trainable(), toy::Source({.epochs = 0}), network.objective(), {});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::data);
  }
}

}  // namespace
}  // namespace prentice
