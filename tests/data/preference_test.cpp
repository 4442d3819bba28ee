// Preference data: rows of every spelling, both sides encoded, pairs that are never parted.
#include <algorithm>
#include <map>
#include <set>

#include "core/error.h"
#include "data/audit.h"
#include "data/pack.h"
#include "data/problems.h"
#include "data/row.h"
#include "data/steps.h"
#include "data/support.h"
#include "data/wanted_format.h"
#include "io/scratch.h"

namespace prentice {
namespace {

std::string show_side(const Row& row) {
  if (row.kind == RowKind::pair) return row.prompt + "|" + row.completion;
  std::string out;
  for (size_t i = 0; i < row.conversation.messages.size(); ++i) {
    const auto& message = row.conversation.messages[i];
    out += i == row.prompt_messages ? "| " : "";
    out += message.at("role").as_string().substr(0, 1) + "=" + message.at("content").as_string() + " ";
  }
  if (!row.conversation.tools.is_null()) out += "tools ";
  return out;
}

std::string show(const Row& row) {
  std::string out = show_side(row);
  for (const auto& side : row.rejected) out += "/ " + show_side(side);
  if (row.rejected.empty()) out += row.role == kChosen ? "/ good" : "/ bad";
  return out;
}

std::string row_of(const std::string& record, RowUse use, const DataSection& section = {}) {
  const RowMaker maker(section, true, use);
  const auto json = Json::parse(record);
  const auto format = wanted_format(json, use);
  require_use(format, use);
  return show(maker.make(json, format));
}

TEST(Preference, EverySpellingBecomesTwoSidesOfOnePrompt) {
  const std::string question = R"({"role": "user", "content": "q"})", good = R"({"role": "assistant", "content": "a"})",
                    bad = R"({"from": "gpt", "value": "b"})", system = R"({"role": "system", "content": "s"})";
  const std::vector<std::pair<std::string, std::string>> rows = {
      {R"({"prompt": "q ", "chosen": "a", "rejected": "b"})", "q |a/ q |b"},
      {R"({"chosen": "one two three", "rejected": "one two tree"})", "one two| three/ one two| tree"},
      {R"({"prompt": "q", "chosen": )" + good + R"(, "rejected": )" + bad + "}", "u=q | a=a / u=q | a=b "},
      {R"({"prompt": [)" + question + R"(], "chosen": [)" + good + R"(], "rejected": [)" + bad + "]}",
       "u=q | a=a / u=q | a=b "},
      {R"({"prompt": [)" + question + R"(], "chosen": "a", "rejected": "b"})", "u=q | a=a / u=q | a=b "},
      {R"({"conversations": [{"from": "human", "value": "q"}], "chosen": )" + good + R"(, "rejected": )" + bad + "}",
       "u=q | a=a / u=q | a=b "},
      // Whole conversations, with and without the prompt beside them, with a system turn, with turns in common.
      {R"({"chosen": [)" + question + "," + good + R"(], "rejected": [)" + question + "," + bad + "]}",
       "u=q | a=a / u=q | a=b "},
      {R"({"prompt": "q", "chosen": [)" + question + "," + good + R"(], "rejected": [)" + question + "," + bad + "]}",
       "u=q | a=a / u=q | a=b "},
      {R"({"prompt": "q", "chosen": [)" + system + "," + question + "," + good + R"(], "rejected": [)" + system + "," +
           question + "," + bad + "]}",
       "s=s u=q | a=a / s=s u=q | a=b "},
      {R"({"chosen": [)" + question + "," + good + "," + question + "," + good + R"(], "rejected": [)" + question +
           "," + good + "," + question + "," + bad + "]}",
       "u=q a=a u=q | a=a / u=q a=a u=q | a=b "},
      // The system turn and the tools of the record belong to both sides.
      {R"({"system": "s", "tools": [{"name": "f"}], "prompt": "q", "chosen": )" + good + R"(, "rejected": )" + bad +
           "}",
       "s=s u=q | a=a tools / s=s u=q | a=b tools "},
  };
  for (const auto& [record, expected] : rows) EXPECT_EQ(row_of(record, RowUse::pairs), expected) << record;
}

TEST(Preference, RowsWithALabelAreAnswersAfterTheLastQuestion) {
  const std::string talk = R"([{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"},
                               {"role": "user", "content": "r"}, {"role": "assistant", "content": "b"}])";
  EXPECT_EQ(row_of(R"({"prompt": "q", "completion": " a", "label": true})", RowUse::labels), "q| a/ good");
  EXPECT_EQ(row_of(R"({"messages": )" + talk + R"(, "label": false})", RowUse::labels), "u=q a=a u=r | a=b / bad");
  EXPECT_EQ(row_of(R"({"prompt": "q", "chosen": "a", "rejected": "b"})", RowUse::labels), "q|a/ q|b");
}

TEST(Preference, BadRecordsSayWhatIsWrong) {
  struct Bad {
    std::string record;
    RowUse use;
    std::string message;
  };
  const std::string u = R"({"role": "user", "content": "q"})", a = R"({"role": "assistant", "content": "a"})";
  const std::vector<Bad> rows = {
      {R"({"prompt": "q", "chosen": "a", "rejected": "a"})", RowUse::pairs, "chosen and rejected are equal"},
      {R"({"prompt": "q", "chosen": 1, "rejected": "a"})", RowUse::pairs,
       "\"chosen\": expected a string or messages, got integer"},
      {R"({"prompt": 7, "chosen": "b", "rejected": "a"})", RowUse::pairs,
       "\"prompt\": expected a string or messages, got integer"},
      {R"({"prompt": "q", "chosen": "", "rejected": "a"})", RowUse::pairs, "the completion is empty"},
      {R"({"prompt": "q", "chosen": [], "rejected": "a"})", RowUse::pairs, "\"chosen\" has no messages"},
      {R"({"chosen": )" + a + R"(, "rejected": "b"})", RowUse::pairs, "the \"prompt\" is missing"},
      {R"({"chosen": "yes", "rejected": "no"})", RowUse::pairs,
       "there is no \"prompt\", and chosen and rejected have no beginning in common"},
      {R"({"chosen": [)" + u + "," + a + R"(], "rejected": [)" + u + "," + a + "," + a + "]}", RowUse::pairs,
       "one side is only the beginning of the other: message 3 has nothing against it"},
      {R"({"chosen": [)" + u + "," + a + R"(], "rejected": [)" + u + R"(,{"role": "user", "content": "r"},)" + a + "]}",
       RowUse::pairs, "chosen and rejected part at message 2, which is not the assistant's on both sides"},
      {R"({"prompt": "q", "completion": "a", "label": true})", RowUse::pairs,
       "these are rows with a label true or false, and this recipe compares two answers"},
      {R"({"prompt": "q", "completion": "a"})", RowUse::pairs,
       "these are rows of format completion, which say nothing of a worse answer"},
      {R"({"prompt": "q", "completion": "a"})", RowUse::labels,
       "these are rows of format completion, which say nothing of a worse answer"},
      {R"({"prompt": "q", "completion": "a", "label": "yes"})", RowUse::labels,
       "\"label\": expected true or false, got \"yes\""},
  };
  for (const auto& bad : rows) {
    EXPECT_EQ(message_of([&] { row_of(bad.record, bad.use); }), bad.message) << bad.record;
  }
}

const std::string kPairs =
    R"({"prompt": "Where is my card?", "chosen": " It is on its way.", "rejected": " No idea at all, ask someone else."})"
    "\n"
    R"({"prompt": "Close my account", "chosen": " I can help with that.", "rejected": " No."})"
    "\n"
    R"({"prompt": "Hi", "chosen": " Hello, how can I help?", "rejected": " What?"})"
    "\n";

DataSet pairs_of(const std::string& text, RowUse use = RowUse::pairs, Overlong overlong = Overlong::automatic,
                 int64_t max_length = 0) {
  const Scratch scratch;
  auto section = section_for(write_text(scratch, "pairs.jsonl", text));
  section.overlong = overlong;
  if (max_length > 0) section.max_length = max_length;
  return load(section, office_tokenizer(), {.threads = 2, .use = use});
}

TEST(Preference, BothSidesAreTrainedOnTheirAnswerAndItsEndAlone) {
  const auto set = pairs_of(kPairs);
  ASSERT_EQ(set.encoded.group, 2);
  ASSERT_EQ(set.encoded.sequences.size(), 6u);
  ASSERT_EQ(set.examples.size(), 3u);
  const auto& tokenizer = office_tokenizer();
  const auto& sequences = set.encoded.sequences;
  EXPECT_EQ(trained_text(sequences[0], tokenizer), " It is on its way.<|end|>");
  EXPECT_EQ(trained_text(sequences[1], tokenizer), " No idea at all, ask someone else.<|end|>");
  for (size_t i = 0; i < sequences.size(); ++i) {
    EXPECT_EQ(sequences[i].sample, static_cast<int64_t>(i / 2));
    EXPECT_EQ(sequences[i].role, i % 2 == 0 ? kChosen : kRejected);
  }
  EXPECT_NE(sample_key(sequences[0], 0), sample_key(sequences[1], 0));  // the sides drop out by themselves
}

TEST(Preference, PairsTakenApartAreExamplesOfTheirOwn) {
  const auto set = pairs_of(kPairs, RowUse::labels);
  EXPECT_EQ(set.encoded.group, 1);
  ASSERT_EQ(set.encoded.sequences.size(), 6u);
  EXPECT_EQ(set.examples.size(), 6u);
  EXPECT_EQ(set.encoded.sequences[3].sample, 3);
  EXPECT_EQ(set.encoded.sequences[3].role, kRejected);
}

TEST(Preference, APairThatIsTooLongOrEqualIsOneRowWithItsLine) {
  EXPECT_EQ(pairs_of(kPairs, RowUse::pairs, Overlong::drop, 16).encoded.dropped, 1);
  try {
    pairs_of(kPairs, RowUse::pairs, Overlong::error, 16);
    FAIL() << "a long pair was taken";
  } catch (const Error& error) {
    const std::string &message = error.diagnostics()[0].message, &hint = error.diagnostics()[0].hint;
    EXPECT_TRUE(message.starts_with("1 of 3 rows are longer than 16 tokens")) << message;
    EXPECT_TRUE(hint.ends_with("; data.overlong=drop leaves them out")) << hint;  // truncate is refused
  }
  const auto cut = message_of([] { pairs_of(kPairs, RowUse::pairs, Overlong::truncate, 16); });
  EXPECT_EQ(cut, "data.overlong: truncate would compare two answers that are not whole");
  try {
    pairs_of(kPairs + R"({"prompt": "q", "chosen": "a", "rejected": "a<|end|>"})" + "\n");
    FAIL() << "equal tokens were taken";
  } catch (const Error& error) {
    EXPECT_EQ(error.diagnostics()[0].line, 4);
    EXPECT_EQ(error.diagnostics()[0].message, "chosen and rejected are the same tokens");
  }
}

TEST(Preference, AuditShowsBothSidesAndTheirLengths) {
  const auto text = render_audit(audit_data(pairs_of(kPairs), office_tokenizer(), 1), AuditStyle::brackets, false);
  EXPECT_NE(text.find("pairs.jsonl:1, chosen: "), text.npos) << text;
  EXPECT_NE(text.find("pairs.jsonl:1, rejected: "), text.npos) << text;
  EXPECT_EQ(text.find("pairs.jsonl:2"), text.npos) << text;
  EXPECT_NE(text.find("tokens a chosen answer with its prompt: p50 "), text.npos) << text;
  EXPECT_NE(text.find("3 rows, 6 sequences"), text.npos) << text;
}

// Pairs of the given lengths; token ids name the pair.
EncodedSet pairs_of_lengths(const std::vector<std::pair<int64_t, int64_t>>& lengths) {
  EncodedSet set{.group = 2};
  for (size_t i = 0; i < lengths.size(); ++i) {
    for (const int role : {kChosen, kRejected}) {
      const int64_t length = role == kChosen ? lengths[i].first : lengths[i].second;
      Sequence sequence{.sample = static_cast<int64_t>(i), .role = role};
      sequence.ids.assign(length, static_cast<int32_t>(i));
      sequence.labels.assign(length, static_cast<int32_t>(kNoLabel));
      for (int64_t t = length / 2; t < length; ++t) sequence.labels[t] = static_cast<int32_t>(i);
      set.sequences.push_back(std::move(sequence));
    }
  }
  return set;
}

TEST(Preference, APairIsNeverPartedWhateverThePacking) {
  const auto set = pairs_of_lengths({{5, 9}, {12, 3}, {4, 4}, {20, 7}, {6, 6}, {8, 2}, {3, 11}});
  for (const int64_t micro_tokens : {0, 10, 16, 30}) {
    for (const bool packing : {true, false}) {
      const auto source = make_step_source(set, {.batch = 3, .micro_tokens = micro_tokens, .packing = packing});
      std::multiset<int64_t> seen;
      EXPECT_EQ(source->size(), 3);
      for (int64_t s = 0; s < source->size(); ++s) {
        const Step step = source->step(s);
        double pairs = 0, chosen = 0;
        for (const auto& micro : step.micros) {
          const auto* pair = micro.pair.const_data_ptr<int32_t>();
          const auto* role = micro.role.const_data_ptr<int32_t>();
          const auto* tokens = micro.tokens.const_data_ptr<int64_t>();
          ASSERT_EQ(micro.pair.size(0) % 2, 0);
          EXPECT_FALSE(micro.reference.defined());
          for (int64_t i = 0; i < micro.pair.size(0); ++i) {
            EXPECT_EQ(pair[i], i / 2);
            EXPECT_EQ(role[i], i % 2);
            EXPECT_EQ(tokens[micro.host_starts[i]], tokens[micro.host_starts[i - i % 2]]);
            if (i % 2 == 0) seen.insert(tokens[micro.host_starts[i]]), ++pairs;
            if (i % 2 == 0) chosen += (micro.host_starts[i + 1] - micro.host_starts[i] + 1) / 2;
          }
        }
        EXPECT_EQ(step.counts.pairs, pairs);
        EXPECT_EQ(step.counts.sequences, 2 * pairs);
        EXPECT_EQ(step.counts.chosen_tokens, chosen);
      }
      EXPECT_EQ(seen, (std::multiset<int64_t>{0, 1, 2, 3, 4, 5, 6}));
    }
  }
  EXPECT_EQ(longest_group(set.sequences, 2), 27);
  EXPECT_EQ(message_of([&] { make_step_source(set, {.batch = 0, .batch_tokens = 26}); }),
            "train.batch_tokens: 26 is less than the longest pair, 27 tokens");
}

TEST(Preference, EvaluationKeepsPairsTogether) {
  const auto set = pairs_of_lengths({{5, 9}, {12, 3}, {4, 4}});
  std::vector<const Sequence*> sequences;
  for (const auto& sequence : set.sequences) sequences.push_back(&sequence);
  std::vector<int64_t> sizes;
  collate_in_order(
      sequences, 16, [&](const Batch& batch) { sizes.push_back(batch.role.size(0)); }, 2);
  EXPECT_EQ(sizes, (std::vector<int64_t>{2, 2, 2}));
}

TEST(Preference, WhatIsKnownOfTheReferenceTravelsWithTheBatch) {
  auto set = pairs_of_lengths({{5, 9}, {12, 3}});
  for (size_t i = 0; i < set.sequences.size(); ++i) set.sequences[i].reference = -1.5 * static_cast<double>(i);
  const auto source = make_step_source(set, {.batch = 2, .shuffle = false});
  const Step step = source->step(0);
  const auto* reference = step.micros[0].reference.const_data_ptr<double>();
  EXPECT_EQ(std::vector<double>(reference, reference + 4), (std::vector<double>{0, -1.5, -3, -4.5}));
}

TEST(Preference, RealSetsAreReadWhole) {
  const auto folder = shared_data() / "datasets/llamafactory_demo";
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << folder << " is absent";
  auto section = section_for((folder / "dpo_en_demo.json").string());
  const auto pairs = load(section, office_tokenizer(), {.threads = 2, .use = RowUse::pairs});
  EXPECT_EQ(pairs.examples.size(), 300u);
  EXPECT_EQ(pairs.encoded.sequences.size(), 600u);
  EXPECT_TRUE(pairs.chat);
  section = section_for((folder / "kto_en_demo.json").string());
  const auto labels = load(section, office_tokenizer(), {.threads = 2, .use = RowUse::labels});
  EXPECT_EQ(labels.examples.size(), 300u);
  const auto good = std::count_if(labels.encoded.sequences.begin(), labels.encoded.sequences.end(),
                                  [](const Sequence& sequence) { return sequence.role == kChosen; });
  EXPECT_GT(good, 0);
  EXPECT_LT(good, 300);
}

}  // namespace
}  // namespace prentice
