#include "eval/compared.h"

#include <gtest/gtest.h>

#include "core/error.h"

namespace prentice {
namespace {

// The lines of rows.jsonl that are left, each scored on one token: its line, or `token`.
EncodedSet lines_of(const std::vector<int64_t>& lines, int32_t token = 0) {
  EncodedSet set;
  for (const int64_t line : lines) {
    const auto label = token ? token : static_cast<int32_t>(line);
    set.sequences.push_back({.ids = {1, label},
                             .labels = {label, -100},
                             .weights = {},
                             .sample = static_cast<int64_t>(set.origins.size())});
    set.origins.push_back({.file = "rows.jsonl", .line = line});
  }
  return set;
}

std::string refusal(const EncodedSet& a, const EncodedSet& b, int64_t limit = 0) {
  try {
    pair_rows(a, b, limit);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::data);
    return error.what();
  }
  return "";
}

EvalReport choices(const std::vector<std::string>& answers, const std::vector<std::string>& expected) {
  EvalReport report;
  report.choice.emplace();
  for (size_t i = 0; i < answers.size(); ++i) {
    report.choice->examples.push_back({static_cast<int64_t>(i), answers[i], expected[i], {}});
  }
  return report;
}

TEST(PairRows, RefusesRowsThatOnlyOneReadsHoweverManyAreLeft) {
  struct Case {
    std::vector<int64_t> a, b;
    int64_t limit;
    const char* named;  // nullptr: they are the same
  };
  const Case cases[] = {
      {{1, 2, 3}, {1, 2, 3}, 0, nullptr},
      {{1, 3, 4}, {1, 2, 4}, 0, "compare.a reads rows.jsonl:3, which compare.b leaves out"},  // as many, but others
      {{1, 2, 4}, {1, 3, 4}, 0, "compare.a reads rows.jsonl:2, which compare.b leaves out"},
      {{1, 2}, {1, 2, 3}, 0, "compare.b reads rows.jsonl:3"},
      {{1, 2, 3}, {1, 2}, 0, "compare.a reads rows.jsonl:3"},
      {{1, 2, 3}, {1, 2}, 2, nullptr},  // what lies behind the limit is not scored
      {{1, 3, 4}, {1, 2, 3}, 2, "compare.b reads rows.jsonl:2"},
      {{}, {7}, 0, "compare.b reads rows.jsonl:7"},
  };
  for (const auto& [a, b, limit, named] : cases) {
    const std::string said = refusal(lines_of(a), lines_of(b), limit);
    if (named == nullptr) {
      EXPECT_EQ(said, "");
    } else {
      EXPECT_NE(said.find(named), std::string::npos) << said << " instead of " << named;
    }
  }
  EncodedSet record = lines_of({1});
  record.origins[0].record = 2;
  EXPECT_NE(refusal(lines_of({1}), record), "");
}

TEST(PairRows, KnowsWhereRowsBecomeOtherTokens) {
  EXPECT_TRUE(pair_rows(lines_of({1, 2}), lines_of({1, 2}), 0).same_tokens);
  EXPECT_FALSE(pair_rows(lines_of({1, 2}), lines_of({1, 2}, 9), 0).same_tokens);
  EncodedSet prompts = lines_of({1, 2});
  prompts.sequences[1].ids[0] = 5;  // another prompt, the same answer
  EXPECT_TRUE(pair_rows(lines_of({1, 2}), prompts, 0).same_tokens);
  EncodedSet unweighted = lines_of({1, 2}, 9);
  for (auto& sequence : unweighted.sequences) sequence.weights = {0, 0};
  EncodedSet none = lines_of({1, 2});
  for (auto& sequence : none.sequences) sequence.labels = {-100, -100};
  EXPECT_TRUE(pair_rows(unweighted, none, 0).same_tokens);  // neither is scored
  EXPECT_TRUE(pair_rows(lines_of({1, 2}), lines_of({1, 3}), 1).same_tokens);
}

TEST(DecidingMetric, IsTheOneThatTheTasksGive) {
  const PairedRows same, other{.same_tokens = false};
  struct Case {
    const char* asked;
    std::vector<std::string> tasks;
    const char* metric;
  };
  const Case cases[] = {{"auto", {"loss"}, "loss"},
                        {"auto", {"loss", "exact"}, "exact.accuracy"},
                        {"accuracy", {"choice"}, "choice.accuracy"},
                        {"auto", {"preference"}, "preference.accuracy"},
                        {"loss", {"loss", "choice"}, "loss"},
                        {"loss", {"preference"}, "loss"},
                        {"exact.accuracy", {"choice", "exact"}, "exact.accuracy"}};
  for (const auto& [asked, tasks, metric] : cases) {
    EXPECT_EQ(deciding_metric(asked, tasks, same), metric);
    if (metric != std::string("loss")) EXPECT_EQ(deciding_metric(asked, tasks, other), metric);
  }
  EXPECT_EQ(deciding_metric("loss", {"preference"}, other), "loss");  // a loss a pair, whatever its tokens are
  EXPECT_THROW(deciding_metric("loss", {"loss", "choice"}, other), Error);
  EXPECT_THROW(deciding_metric("auto", {"loss"}, other), Error);
}

TEST(CompareReports, ShowsTheRowsThatTurnedInTheDecidingMetricByTheirPlace) {
  const PairedRows rows = pair_rows(lines_of({1, 4, 9}), lines_of({1, 4, 9}), 0);
  EvalReport a = choices({"x", "y", "y"}, {"x", "x", "y"}), b = choices({"x", "x", "x"}, {"x", "x", "y"});
  a.exact.emplace(), b.exact.emplace();
  a.exact->examples = {{0, "so", "so", true}, {1, "so", "so", true}, {2, "no", "so", false}};
  b.exact->examples = {{0, "no", "so", false}, {1, "so", "so", true}, {2, "no", "so", false}};
  a.warnings = {"too hot"};

  const auto by_choice = compare_reports(a, b, rows, {.metric = "choice.accuracy"});
  ASSERT_EQ(by_choice.turned.size(), 2u);
  EXPECT_EQ(to_string(by_choice.turned[0].origin), "rows.jsonl:4");
  EXPECT_TRUE(by_choice.turned[0].b_is_right);
  EXPECT_EQ(by_choice.turned[1].origin.line, 9);
  EXPECT_FALSE(by_choice.turned[1].b_is_right);
  EXPECT_EQ(by_choice.turned[1].a, "y");
  EXPECT_EQ(by_choice.turned[1].b, "x");
  EXPECT_EQ(by_choice.decisive().name, "choice.accuracy");
  EXPECT_EQ(by_choice.metrics.size(), 2u);
  EXPECT_EQ(by_choice.warnings, std::vector<std::string>{"a: too hot"});

  const auto by_exact = compare_reports(a, b, rows, {.metric = "exact.accuracy"});
  ASSERT_EQ(by_exact.turned.size(), 1u);
  EXPECT_EQ(by_exact.turned[0].origin.line, 1);
  EXPECT_DOUBLE_EQ(by_exact.decisive().found.difference, -1.0 / 3);
}

TEST(CompareReports, TellsWhichPairsTurnedAndLeavesOutALossOfOtherTokens) {
  EvalReport a, b;
  a.preference.emplace(), b.preference.emplace();
  a.preference->examples = {{0, 0.5, 0.25}, {1, 0.5, -2}};
  b.preference->examples = {{0, 0.25, 0.75}, {1, 0.25, 1.5}};
  const auto pairs =
      compare_reports(a, b, pair_rows(lines_of({3, 5}), lines_of({3, 5}, 9), 0), {.metric = "preference.accuracy"});
  ASSERT_EQ(pairs.turned.size(), 1u);
  EXPECT_EQ(pairs.turned[0].origin.line, 5);
  EXPECT_EQ(pairs.turned[0].a, "-2");
  EXPECT_EQ(pairs.turned[0].b, "+1.5");
  ASSERT_EQ(pairs.metrics.size(), 2u);
  EXPECT_DOUBLE_EQ(pairs.metrics[1].found.difference, -0.25);

  EvalReport one = choices({"x"}, {"x"}), other = choices({"x"}, {"x"});
  one.loss = LossResult{.examples = {{0, 3, 0.5}}}, other.loss = LossResult{.examples = {{0, 4, 0.25}}};
  const auto left_out =
      compare_reports(one, other, pair_rows(lines_of({1}), lines_of({1}, 9), 0), {.metric = "choice.accuracy"});
  ASSERT_EQ(left_out.metrics.size(), 1u);
  ASSERT_EQ(left_out.warnings.size(), 1u);
  EXPECT_NE(left_out.warnings[0].find("different tokens"), std::string::npos);
}

// mean = sum(value * tokens) / sum(tokens): a = (0.5 * 1 + 0.1 * 3) / 4, b = (0.1 * 1 + 0.5 * 3) / 4.
TEST(CompareReports, WeighsALossByTheTokensOfItsRow) {
  EvalReport a, b;
  a.loss = LossResult{.examples = {{0, 1, 0.5}, {1, 3, 0.1}}};
  b.loss = LossResult{.examples = {{0, 1, 0.1}, {1, 3, 0.5}}};
  const auto found = compare_reports(a, b, pair_rows(lines_of({1, 2}), lines_of({1, 2}), 0), {.metric = "loss"});
  EXPECT_DOUBLE_EQ(found.decisive().found.a, 0.2);
  EXPECT_DOUBLE_EQ(found.decisive().found.b, 0.4);
  EXPECT_TRUE(found.turned.empty());
}

}  // namespace
}  // namespace prentice
