// Real conversations and tables: tool calls in every template that writes them, ShareGPT in other spellings, quoted
// CSV, and rows that are too long.
#include <gtest/gtest.h>

#include <algorithm>

#include "data/support.h"

namespace prentice {
namespace {

class RealConversations : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(shared_data() / "datasets")) GTEST_SKIP() << "no shared data at " << shared_data();
  }
  static std::string data(const std::string& name) { return (shared_data() / "datasets" / name).string(); }
  static std::string glaive() { return data("llamafactory_demo/glaive_toolcall_en_demo.json"); }
  static const Tokenizer& qwen() {
    static const auto tokenizer = Tokenizer::load(shared_data() / "tokenizers/qwen2_bpe");
    return tokenizer;
  }
  // The file's records with some of its words replaced.
  static std::string rewritten(const Scratch& scratch,
                               const std::vector<std::pair<std::string, std::string>>& replacements) {
    std::ifstream file(glaive());
    std::string text{std::istreambuf_iterator<char>(file), {}};
    for (const auto& [from, to] : replacements) {
      for (size_t at = text.find(from); at != text.npos; at = text.find(from, at + to.size())) {
        text.replace(at, from.size(), to);
      }
    }
    return write_text(scratch, "rewritten.json", text);
  }
};

std::vector<std::string> trained_texts(const DataSet& set, const Tokenizer& tokenizer) {
  std::vector<std::string> texts;
  for (const auto& sequence : set.encoded.sequences) texts.push_back(trained_text(sequence, tokenizer));
  return texts;
}

size_t occurrences(const std::string& text, const std::string& words) {
  size_t count = 0;
  for (size_t at = text.find(words); at != text.npos; at = text.find(words, at + words.size())) ++count;
  return count;
}

TEST_F(RealConversations, EveryToolCallIsTrainedWholeAndNoResultIs) {
  struct Case {
    const char* chat_template;
    const char* tokenizer;
    const char* end;     // of a turn
    const char* call;    // how a call begins
    const char* result;  // how a result is framed
  };
  for (const Case& test :
       {Case{"auto", "tokenizers/qwen2_bpe", "<|im_end|>", "<tool_call>\n{\"name\": ", "<tool_response>"},
        Case{"configs/chat/mistral-v0.3.jinja", "models/stories260K-hf", "</s>",
             "[TOOL_CALLS] [{\"name\": ", "[TOOL_RESULTS]"}}) {
    auto section = section_for(glaive());
    section.chat_template = test.chat_template;
    const auto tokenizer = Tokenizer::load(shared_data() / test.tokenizer);
    const auto set = load(section, tokenizer);
    ASSERT_EQ(set.examples.size(), 300u);
    size_t calls = 0, results = 0, ends = 0;
    for (const auto& text : trained_texts(set, tokenizer)) {
      calls += occurrences(text, test.call);
      results += occurrences(text, test.result);
      ends += occurrences(text, test.end);
    }
    // 300 conversations have 211 calls and 957 turns of the assistant in all.
    EXPECT_EQ(calls, 211u) << test.chat_template;
    EXPECT_EQ(results, 0u) << test.chat_template;
    EXPECT_EQ(ends, 957u) << test.chat_template;
  }
}

TEST_F(RealConversations, ATemplateWithoutToolCallsIsRefusedByName) {
  auto section = section_for(glaive());
  section.chat_template = "configs/chat/chatml.jinja";
  section.limit = 40;
  ExitCode code = ExitCode::ok;
  const auto message = message_of([&] { load(section, qwen()); }, &code);
  EXPECT_EQ(code, ExitCode::data) << message;
  EXPECT_TRUE(contains(message, "chatml.jinja")) << message;
  EXPECT_TRUE(contains(message, "glaive_toolcall_en_demo.json:121: ")) << message;
}

TEST_F(RealConversations, ATemplateThatWritesBosGetsNoSecondOneAndTrainsItsEnd) {
  const auto tokenizer = Tokenizer::load(shared_data() / "models/stories260K-hf");  // puts <s> before every text
  ASSERT_EQ(tokenizer.encode("a", true).front(), 1);
  const Scratch scratch;
  auto section = section_for(write_text(
      scratch, "row.jsonl",
      R"({"messages": [{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}, {"role": "user", "content": "three"}, {"role": "assistant", "content": "four"}]})"));
  for (const auto& [name, begins] : {std::pair{"llama-2", 2}, {"mistral-v0.3", 1}}) {
    section.chat_template = std::string("configs/chat/") + name + ".jinja";
    const auto set = load(section, tokenizer);
    const auto& ids = set.encoded.sequences[0].ids;
    EXPECT_EQ(ids[0], 1) << name;
    EXPECT_EQ(std::count(ids.begin(), ids.end(), 1), begins) << name;
    const auto trained = trained_text(set.encoded.sequences[0], tokenizer);
    EXPECT_TRUE(contains(trained, "two")) << name << ": " << trained;
    EXPECT_FALSE(contains(trained, "three")) << name << ": " << trained;
  }
  section.chat_template = "configs/chat/llama-3.jinja";  // ends turns with a token that this tokenizer lacks
  const auto message = message_of([&] { load(section, tokenizer); });
  EXPECT_TRUE(contains(message, "the end of the assistant's turn is not trained")) << message;
}

TEST_F(RealConversations, OtherSpellingsOfShareGptGiveTheSameTokens) {
  const Scratch scratch;
  auto section = section_for(glaive());
  section.limit = 60;
  const auto plain = load(section, qwen());
  const std::vector<std::vector<std::pair<std::string, std::string>>> spellings = {
      {{"\"human\"", "\"user\""}, {"\"gpt\"", "\"assistant\""}},
      {{"\"observation\"", "\"function_response\""}},
      {{"\"observation\"", "\"tool\""}, {"\"human\"", "\"user\""}},
  };
  for (const auto& spelling : spellings) {
    section.train = {{rewritten(scratch, spelling), 1}};
    const auto set = load(section, qwen());
    ASSERT_EQ(set.encoded.sequences.size(), plain.encoded.sequences.size());
    for (size_t i = 0; i < set.encoded.sequences.size(); ++i) {
      EXPECT_EQ(set.encoded.sequences[i].ids, plain.encoded.sequences[i].ids) << spelling[0].second << " " << i;
      EXPECT_EQ(set.encoded.sequences[i].labels, plain.encoded.sequences[i].labels) << spelling[0].second << " " << i;
    }
  }
}

TEST_F(RealConversations, CellsOfCsvKeepQuotesCommasAndLineEnds) {
  auto section = section_for(data("banking77/train.csv"));
  section.prompt = "{{ text }}|";
  section.completion = "{{ category }}";
  section.limit = 5200;
  const auto banking = load(section, qwen());
  EXPECT_TRUE(contains(banking.examples[5106].prompt, "showing up as \"pending\", how long does it take to clear?|"));
  EXPECT_TRUE(contains(banking.examples[1290].prompt, "\nI can't seem to be able to use my card\n\n\n|"));

  section.train = {{data("bitext_support/Bitext_Sample_Customer_Service_Training_Dataset.csv"), 1}};
  section.prompt = "{{ utterance }}|{{ start_offset }}-{{ end_offset }}|";
  section.completion = "{{ intent }}";
  section.limit = 10;
  const auto bitext = load(section, qwen());
  EXPECT_TRUE(
      contains(bitext.examples[4].prompt, "I don't want my last item, help me cancel order 370795561790|48-60|"));
}

// Rows above this are cut, dropped or refused below; most conversations are longer.
constexpr int64_t kLimit = 512;

TEST_F(RealConversations, RowsThatAreTooLongAreRefusedWithTheirLengths) {
  std::string hint;
  const auto message =
      message_of([&] { load(section_for(glaive()), qwen(), {.max_length = kLimit, .threads = 2}); }, nullptr, &hint);
  EXPECT_TRUE(contains(message, "512")) << message;
  for (const char* word : {"p50", "p95", "p99", "max"}) EXPECT_TRUE(contains(message, word)) << message;
  EXPECT_TRUE(contains(hint, "drop")) << hint;
  EXPECT_TRUE(contains(hint, "truncate")) << hint;
}

TEST_F(RealConversations, DroppedRowsAreCountedAndCutOnesEndWithATurn) {
  auto section = section_for(glaive());
  section.limit = 150;
  const auto all = load(section, qwen());
  const auto too_long =
      std::count_if(all.encoded.sequences.begin(), all.encoded.sequences.end(),
                    [](const Sequence& sequence) { return static_cast<int64_t>(sequence.ids.size()) > kLimit; });
  ASSERT_GT(too_long, 20);

  section.overlong = Overlong::drop;
  const auto dropped = load(section, qwen(), {.max_length = kLimit, .threads = 2});
  EXPECT_EQ(dropped.encoded.dropped, too_long);
  EXPECT_EQ(dropped.encoded.sequences.size(), all.encoded.sequences.size() - static_cast<size_t>(too_long));

  section.overlong = Overlong::truncate;
  const auto cut = load(section, qwen(), {.max_length = kLimit, .threads = 2});
  EXPECT_GT(cut.encoded.truncated, 20);
  EXPECT_EQ(cut.encoded.truncated + cut.encoded.dropped, too_long);
  for (const auto& sequence : cut.encoded.sequences) {
    EXPECT_LE(static_cast<int64_t>(sequence.ids.size()), kLimit);
    EXPECT_TRUE(trained_text(sequence, qwen()).ends_with("<|im_end|>")) << trained_text(sequence, qwen());
  }
}

}  // namespace
}  // namespace prentice
