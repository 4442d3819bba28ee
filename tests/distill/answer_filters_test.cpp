#include "distill/answer_filters.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/error.h"
#include "io/scratch.h"

namespace prentice {
namespace {

SampledAnswer said(std::string text, double probability = 0.5, bool ended = true) {
  const auto tokens = static_cast<int64_t>(text.size());
  return {std::move(text), tokens, std::log(probability) * static_cast<double>(tokens + 1), ended};
}

std::optional<std::string> itself(const std::string& text) { return text; }

// What passes, and the reason of the rest.
std::pair<std::vector<std::string>, std::map<std::string, int64_t>> filtered(
    const SampleSection& section, const std::vector<SampledAnswer>& answers) {
  AnswerFilters filters(section);
  auto kept = filters.passing(answers, itself);
  EXPECT_EQ(filters.sampled(), static_cast<int64_t>(answers.size()));
  EXPECT_EQ(filters.kept(), static_cast<int64_t>(kept.size()));
  std::map<std::string, int64_t> dropped;
  int64_t count = filters.kept();
  for (const auto& [reason, number] : filters.dropped()) {
    count += number;
    if (number > 0) dropped[reason] = number;
  }
  EXPECT_EQ(count, filters.sampled()) << "every answer is kept or counted once";
  return {kept, dropped};
}

using Dropped = std::map<std::string, int64_t>;
using Kept = std::vector<std::string>;

TEST(AnswerFilters, EachFilterDropsWhatItIsFor) {
  const std::vector<SampledAnswer> answers = {said("{\"a\": 1}"),      said("[1, 2"),    said("yes", 0.9),
                                              said("no", 0.1),         said("yes", 0.4), said("  "),
                                              said("long", 0.5, false)};
  struct Case {
    SampleSection section;
    Kept kept;
    Dropped dropped;
  };
  const auto with = [](auto change) {
    SampleSection section{.n = 7};
    change(section);
    return section;
  };
  const Dropped always = {{"cut off", 1}, {"too short", 1}, {"repeated", 1}};
  const std::vector<Case> cases = {
      {with([](auto&) {}), {"{\"a\": 1}", "[1, 2", "yes", "no"}, always},
      {with([](auto& s) { s.json = true; }), {"{\"a\": 1}"}, {{"cut off", 1}, {"too short", 1}, {"not JSON", 4}}},
      {with([](auto& s) { s.match = "yes|no"; }),
       {"yes", "no"},
       {{"cut off", 1}, {"too short", 1}, {"no match", 2}, {"repeated", 1}}},
      {with([](auto& s) { s.min_tokens = 3; }),
       {"{\"a\": 1}", "[1, 2", "yes"},
       {{"cut off", 1}, {"too short", 2}, {"repeated", 1}}},
      {with([](auto& s) { s.likelihood = 0.45; }),
       {"{\"a\": 1}", "[1, 2", "yes"},
       {{"cut off", 1}, {"too short", 1}, {"unlikely", 2}}},
      {with([](auto& s) { s.agree = 2; }),
       {"yes"},
       {{"cut off", 1}, {"too short", 1}, {"disagreeing", 3}, {"repeated", 1}}},
  };
  for (size_t i = 0; i < cases.size(); ++i) {
    const auto [kept, dropped] = filtered(cases[i].section, answers);
    EXPECT_EQ(kept, cases[i].kept) << i;
    EXPECT_EQ(dropped, cases[i].dropped) << i;
  }
}

TEST(AnswerFilters, ARowOfAnEarlierPromptIsARepetition) {
  AnswerFilters filters({.n = 1});
  EXPECT_EQ(filters.passing({said("a")}, itself), Kept{"a"});
  EXPECT_EQ(filters.passing({said("a")}, itself), Kept{});
  EXPECT_EQ(filters.passing({said("b")}, [](const std::string&) { return std::nullopt; }), Kept{});
  EXPECT_EQ(filters.kept(), 1);
}

TEST(AnswerFilters, ABrokenPatternIsTheUsersMistake) {
  ExitCode code{};
  const std::string message = message_of([] { AnswerFilters({.n = 1, .match = "(a"}); }, &code);
  EXPECT_TRUE(contains(message, "teach.sample.match")) << message;
  EXPECT_EQ(code, ExitCode::usage);
}

}  // namespace
}  // namespace prentice
