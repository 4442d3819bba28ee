// Holding rows out: how many, which, and that groups stay together whatever the order of the file.
#include "data/split.h"

#include <algorithm>
#include <map>
#include <set>

#include "data/support.h"

namespace prentice {
namespace {

std::vector<Row> rows_of(int count) {
  std::vector<Row> rows(count);
  for (int i = 0; i < count; ++i) {
    rows[i].record = Json::Object{{"text", "row " + std::to_string(i)},
                                  {"customer", i / 3},
                                  {"topic", i % 10 == 0  ? "rare"
                                            : i % 2 == 0 ? "even"
                                                         : "odd"}};
    rows[i].origin = {"rows.jsonl", i + 1};
  }
  return rows;
}

std::set<std::string> held_out_texts(const std::vector<Row>& rows, int64_t count, const DataSection& section,
                                     uint64_t seed = 17) {
  const auto chosen = choose_held_out(rows, count, section, seed);
  std::set<std::string> texts;
  for (size_t i = 0; i < rows.size(); ++i) {
    if (chosen[i]) texts.insert(rows[i].record.at("text").as_string());
  }
  return texts;
}

TEST(Split, HowManyRowsAreHeldOut) {
  struct Case {
    Auto<double> split;
    int64_t rows, expected;
  };
  const std::vector<Case> cases = {
      {std::nullopt, 199, 0}, {std::nullopt, 200, 10}, {std::nullopt, 1000, 50}, {std::nullopt, 50000, 500},
      {0, 1000, 0},           {0.1, 1000, 100},        {0.001, 100, 1},          {1, 100, 1},
      {40, 100, 40}};
  for (const auto& c : cases) EXPECT_EQ(held_out_count(c.split, c.rows), c.expected) << c.rows;
  ExitCode code = ExitCode::ok;
  EXPECT_EQ(message_of([] { held_out_count(100, 100); }, &code),
            "data.eval_split: 100 rows are held out of 100, which leaves none to train on");
  EXPECT_EQ(code, ExitCode::usage);
}

TEST(Split, DependsOnTheSeedAndNotOnTheOrderOfTheFile) {
  auto rows = rows_of(300);
  const auto chosen = held_out_texts(rows, 30, {});
  EXPECT_EQ(chosen.size(), 30u);
  EXPECT_NE(chosen, held_out_texts(rows, 30, {}, 18));
  std::reverse(rows.begin(), rows.end());
  EXPECT_EQ(chosen, held_out_texts(rows, 30, {}));
}

TEST(Split, RowsWithAnEqualFieldNeverPart) {
  const auto rows = rows_of(300);
  DataSection section;
  section.split_by = "customer";
  const auto chosen = choose_held_out(rows, 31, section, 17);
  EXPECT_EQ(std::count(chosen.begin(), chosen.end(), 1), 30);  // ten customers of three rows; an eleventh does not fit
  for (size_t i = 0; i < rows.size(); i += 3) {
    EXPECT_EQ(chosen[i], chosen[i + 1]);
    EXPECT_EQ(chosen[i], chosen[i + 2]);
  }
}

TEST(Split, EqualRowsNeverPart) {
  auto rows = rows_of(100);
  for (size_t i = 0; i < 100; i += 2) rows[i + 1].record = rows[i].record;
  const auto chosen = choose_held_out(rows, 20, {}, 17);
  for (size_t i = 0; i < 100; i += 2) EXPECT_EQ(chosen[i], chosen[i + 1]);
}

TEST(Split, StrataKeepTheirShare) {
  const auto rows = rows_of(300);  // 30 rare, 120 even, 150 odd
  DataSection section;
  section.stratify = "topic";
  for (const uint64_t seed : {1, 2, 3}) {
    const auto chosen = choose_held_out(rows, 20, section, seed);
    std::map<std::string, int> counts;
    for (size_t i = 0; i < rows.size(); ++i) counts[rows[i].record.at("topic").as_string()] += chosen[i];
    EXPECT_EQ(counts, (std::map<std::string, int>{{"even", 8}, {"odd", 10}, {"rare", 2}}));
  }
}

TEST(Split, AMissingFieldAndAGroupThatDoesNotFitAreNamed) {
  auto rows = rows_of(30);
  DataSection section;
  section.split_by = "client";
  ExitCode code = ExitCode::ok;
  EXPECT_TRUE(message_of([&] { choose_held_out(rows, 5, section, 1); }, &code)
                  .starts_with("rows.jsonl:1: \"client\" (data.split_by) is missing"));
  EXPECT_EQ(code, ExitCode::data);
  section.split_by = "customer";
  EXPECT_EQ(message_of([&] { choose_held_out(rows, 2, section, 1); }, &code),
            "data.eval_split: no group of equal customer fits into 2 held-out rows");
  EXPECT_EQ(code, ExitCode::usage);
}

std::string pair_rows(int from, int to) {
  std::string rows;
  for (int i = from; i < to; ++i)
    rows += R"({"prompt": "q)" + std::to_string(i) +
            R"(", "completion": " a"})"
            "\n";
  return rows;
}

TEST(Split, LoadDataHoldsOutAndReportsOverlap) {
  const Scratch scratch;
  DataSection section;
  section.train = {{write_text(scratch, "train.jsonl", pair_rows(0, 400)), 1}};
  auto sets = load_data(section, office_tokenizer(), {.threads = 2}, 17);
  ASSERT_TRUE(sets.eval);
  EXPECT_EQ(sets.train.examples.size(), 380u);
  EXPECT_EQ(sets.eval->examples.size(), 20u);
  EXPECT_TRUE(sets.overlap.empty());
  EXPECT_EQ(sets.eval->description, "completion, 20 rows from train.jsonl, held out");

  section.eval = {{write_text(scratch, "test.jsonl", pair_rows(395, 410)), 1}};
  sets = load_data(section, office_tokenizer(), {}, 17);
  EXPECT_EQ(sets.train.examples.size(), 400u);
  ASSERT_EQ(sets.overlap.size(), 5u);
  EXPECT_EQ(sets.overlap[0], section.train[0].path + ":396 = " + section.eval[0].path + ":1");

  section.eval_split = 10;
  ExitCode code = ExitCode::ok;
  message_of([&] { load_data(section, office_tokenizer(), {}, 17); }, &code);
  EXPECT_EQ(code, ExitCode::usage);
}

TEST(Split, MixWeightsFollowTheirFile) {
  const Scratch scratch;
  DataSection section;
  section.eval_split = 0;
  section.train = {{write_text(scratch, "a.jsonl", pair_rows(0, 10)), 3},
                   {write_text(scratch, "b.jsonl", pair_rows(10, 40)), 1}};
  const auto set = load_data(section, office_tokenizer(), {}, 17).train;
  EXPECT_EQ(set.description, "completion, 40 rows from a.jsonl (75 %), b.jsonl (25 %)");
  ASSERT_EQ(set.encoded.mix_weights.size(), 40u);
  EXPECT_EQ(set.encoded.mix_weights[9], 3);
  EXPECT_EQ(set.encoded.mix_weights[10], 1);
  section.train[0].weight = 1;
  EXPECT_TRUE(load_data(section, office_tokenizer(), {}, 17).train.encoded.mix_weights.empty());
  section.train[1] = section.train[0];
  EXPECT_TRUE(contains(message_of([&] { load_data(section, office_tokenizer(), {}, 17); }), "is named twice"));
}

}  // namespace
}  // namespace prentice
