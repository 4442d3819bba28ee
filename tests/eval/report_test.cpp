#include "eval/report.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/error.h"

namespace prentice {
namespace {

EvalReport example_report() {
  EvalReport report{.model = "base+adapter", .data = {{"test.jsonl", "4f1c", 4}}};
  report.loss = LossResult{.mean = 1.0 / 3, .tokens = 12, .examples = {{0, 5, 0.1}, {2, 7, 0.5}}};
  report.choice = ChoiceResult{
      .accuracy = 0.5,
      .count = 4,
      .examples = {
          {0, "a", "a", {{"a", -1.5}, {"b", -2.25}}}, {1, "a", "b", {}}, {2, "c", "c", {}}, {3, "a", "b", {}}}};
  report.exact = ExactResult{.accuracy = 0.25, .count = 4, .examples = {{0, "x \"y\"", "x", false}}};
  return report;
}

TEST(EvalJson, IsWhatTheContractSays) {
  EvalReport report = example_report();
  report.choice->examples.resize(1);
  report.gates = check_gates(report, {{"loss", 0.5}});
  EXPECT_EQ(
      to_json(report).dump(),
      R"({"schema": 1, "model": "base+adapter", "data": [{"path": "test.jsonl", "sha256": "4f1c", "rows": 4}], "tasks": {)"
      R"("loss": {"mean": 0.3333333333333333, "tokens": 12, "examples": [{"index": 0, "tokens": 5, "loss": 0.1}, )"
      R"({"index": 2, "tokens": 7, "loss": 0.5}]}, )"
      R"("choice": {"accuracy": 0.5, "count": 4, "examples": [{"index": 0, "answer": "a", "expected": "a", )"
      R"("scores": {"a": -1.5, "b": -2.25}}]}, )"
      R"("exact": {"accuracy": 0.25, "count": 4, "examples": [{"index": 0, "output": "x \"y\"", "expected": "x", )"
      R"("correct": false}]}}, )"
      R"("gates": [{"metric": "loss", "bound": 0.5, "value": 0.3333333333333333, "passed": true}]})");
}

TEST(Gates, LossesAreUpperBoundsAndAccuraciesLowerOnes) {
  const EvalReport report = example_report();
  struct Row {
    const char* metric;
    double bound;
    bool passes;
  };
  const Row rows[] = {{"loss", 0.34, true},
                      {"loss", 0.33, false},
                      {"loss", 1.0 / 3, true},
                      {"choice.accuracy", 0.5, true},
                      {"choice.accuracy", 0.51, false},
                      {"exact.accuracy", 0.2, true},
                      {"exact.accuracy", 0.3, false},
                      {"accuracy", 0.5, true},
                      {"accuracy", 0.6, false}};
  for (const Row& row : rows) {
    EvalReport checked = report;
    checked.gates = check_gates(report, {{row.metric, row.bound}});
    EXPECT_EQ(checked.passed(), row.passes) << row.metric << " " << row.bound;
  }
  EvalReport broken = report;
  broken.loss->mean = NAN;
  EXPECT_FALSE(check_gates(broken, {{"loss", 5}})[0].passed);
  broken.choice.reset();
  EXPECT_EQ(metrics(broken).at("accuracy"), 0.25);  // exact's, when there is no choice
}

TEST(Gates, AMetricThatNoTaskGivesIsNamed) {
  try {
    check_gates(example_report(), {{"bleu", 1}});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::usage);
    EXPECT_STREQ(error.what(), "eval.require: no task of this evaluation gives 'bleu'");
    EXPECT_EQ(error.diagnostics()[0].hint, "eval.tasks gives accuracy, choice.accuracy, exact.accuracy, loss");
  }
}

TEST(WilsonInterval, SolvesTheScoreEquation) {
  struct Row {
    int64_t correct, count;
    double low, high;  // roots of |p - q| = z sqrt(q (1 - q) / n), found by bisection in Python
  };
  const Row rows[] = {{187, 200, 0.891980920700931, 0.9616236453508471},
                      {0, 10, 0, 0.27753279986288926},
                      {10, 10, 0.7224672001371106, 1},
                      {1, 3, 0.061491944720396235, 0.7923403991979523},
                      {0, 0, 0, 1}};
  for (const Row& row : rows) {
    const auto [low, high] = wilson_interval(row.correct, row.count);
    EXPECT_NEAR(low, row.low, 1e-12);
    EXPECT_NEAR(high, row.high, 1e-12);
  }
}

TEST(Classes, TheWeakestIsTheLowestThenTheLargest) {
  const EvalReport report = example_report();
  const auto classes = by_class(*report.choice);
  ASSERT_EQ(classes.size(), 3u);
  EXPECT_EQ(classes[1].label, "b");
  EXPECT_EQ(classes[1].count, 2);
  EXPECT_EQ(weakest_class(*report.choice)->label, "b");
  EXPECT_FALSE(weakest_class(ChoiceResult{}).has_value());
}

TEST(Summary, IsOneLineATask) {
  EvalReport report = example_report();
  report.gates = check_gates(report, {{"accuracy", 0.75}, {"loss", 2}});
  EXPECT_EQ(summary(report),
            (std::vector<std::string>{"loss     0.3333 nats a token over 12 tokens",
                                      "choice   50.0 % of 4 (95 % interval 15.0-85.0); weakest: b 0.0 %",
                                      "exact    25.0 % of 4 (95 % interval 4.6-69.9)",
                                      "gate     accuracy >= 0.75 (is 0.5000): FAILED",
                                      "gate     loss <= 2 (is 0.3333): passed"}));
}

}  // namespace
}  // namespace prentice
