// Real data sets with their real dirt: each loads, or says what is wrong where.
#include "data/audit.h"
#include "data/support.h"

namespace prentice {
namespace {

class RealData : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(shared_data() / "datasets")) GTEST_SKIP() << "no shared data at " << shared_data();
  }
  static std::string data(const std::string& name) { return (shared_data() / "datasets" / name).string(); }
  static const Tokenizer& smollm() {
    static const auto tokenizer = Tokenizer::load(shared_data() / "tokenizers/smollm_hf_json");
    return tokenizer;
  }
  static const Tokenizer& qwen() {
    static const auto tokenizer = Tokenizer::load(shared_data() / "tokenizers/qwen2_bpe");
    return tokenizer;
  }
  static const Tokenizer& stories() {
    static const auto tokenizer = Tokenizer::load(shared_data() / "models/stories260K-hf");
    return tokenizer;
  }
};

TEST_F(RealData, Banking77RowsAreBuiltFromTheirColumns) {
  auto section = section_for(data("banking77/train.csv"));
  section.prompt = "{{ text }}\nIntent:";
  section.completion = " {{ category }}";
  const auto set = load(section, smollm());
  EXPECT_EQ(set.description, "completion, 10,003 rows from train.csv");
  ASSERT_EQ(set.examples.size(), 10003u);
  EXPECT_EQ(set.examples[4].prompt, "How do I know if I will get my card, or if it is lost?\nIntent:");
  EXPECT_EQ(trained_text(set.encoded.sequences[4], smollm()), " card_arrival<|endoftext|>");
  EXPECT_EQ(set.encoded.origins[4].line, 6);
}

TEST_F(RealData, Banking77WithoutTemplatesIsTextAndSaysWhatItLeavesOut) {
  auto section = section_for(data("banking77/train.csv"));
  section.limit = 100;
  const auto set = load(section, smollm());
  EXPECT_EQ(set.examples.size(), 100u);
  EXPECT_EQ(set.format, DataFormat::text);
  ASSERT_FALSE(set.encoded.warnings.empty());
  EXPECT_EQ(set.encoded.warnings[0], "train.csv: read as text; not used: category");
}

TEST_F(RealData, AlpacaBecomesTurns) {
  auto section = section_for(data("llamafactory_demo/alpaca_en_demo.json"));
  section.limit = 100;
  const auto set = load(section, qwen());
  EXPECT_EQ(set.format, DataFormat::alpaca);
  EXPECT_TRUE(set.chat);
  EXPECT_EQ(set.examples.size(), set.encoded.sequences.size());
  EXPECT_EQ(set.examples[0].prompt,
            "<|im_start|>user\nDescribe a process of making crepes.<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(trained_text(set.encoded.sequences[0], qwen()), set.examples[0].reference + "<|im_end|>");
}

TEST_F(RealData, ShareGptTrainsEveryAnswer) {
  const auto set = load(section_for(data("sharegpt_dummy/dummy_conversation.json")), qwen());
  EXPECT_EQ(set.description, "sharegpt, 500 rows from dummy_conversation.json");
  EXPECT_EQ(
      trained_text(set.encoded.sequences[0], qwen()),
      "I am Vicuna, a language model trained by researchers from Large Model Systems Organization (LMSYS).<|im_end|>"
      "You too!<|im_end|>");
}

TEST_F(RealData, ToolCallsAreTrainedAndTheirResultsAreNot) {
  const auto set = load(section_for(data("llamafactory_demo/glaive_toolcall_en_demo.json")), qwen());
  EXPECT_EQ(set.examples.size(), 300u);
  const auto text = all_text(set.encoded.sequences[0], qwen());
  const auto trained = trained_text(set.encoded.sequences[0], qwen());
  EXPECT_TRUE(contains(text, "# Tools")) << text;
  EXPECT_TRUE(contains(text, "<tool_response>"));
  EXPECT_TRUE(contains(trained, "{\"name\": \"search_recipes\", \"arguments\": {\"ingredients\"")) << trained;
  EXPECT_FALSE(contains(trained, "tool_response"));
}

TEST_F(RealData, TextPartsAndLossWeightsAreHonoured) {
  const auto set = load(section_for(data("llamafactory_demo/v1_sft_demo.jsonl")), qwen());
  EXPECT_EQ(set.format, DataFormat::messages);
  EXPECT_EQ(trained_text(set.encoded.sequences[0], qwen()),
            "Hello! I am {{name}}, an AI assistant developed by {{author}}. How can I assist you today?<|im_end|>");
}

TEST_F(RealData, PreferenceRowsAreRefusedWithWhatCanBeDone) {
  for (const std::string name : {"dpo_en_demo.json", "v1_dpo_demo.jsonl", "kto_en_demo.json"}) {
    ExitCode code = ExitCode::ok;
    std::string hint;
    const auto message =
        message_of([&] { load(section_for(data("llamafactory_demo/" + name)), qwen()); }, &code, &hint);
    EXPECT_EQ(code, ExitCode::data) << name;
    EXPECT_TRUE(hint.starts_with(name.starts_with("kto") ? "`recipe: kto`" : "`recipe: dpo`")) << message;
  }
}

TEST_F(RealData, TinyStoriesKeepTheirMojibakeAndLength) {
  const auto set = load(section_for(data("tinystories/train.jsonl")), stories(), {.max_length = 512, .threads = 2});
  EXPECT_EQ(set.examples.size(), 656u);
  EXPECT_EQ(set.encoded.sequences[0].ids.front(), 1);
  EXPECT_LE(set.encoded.longest, 512);
  EXPECT_GT(set.encoded.sequences.size(), 656u);  // split at 512
}

TEST_F(RealData, Gsm8kSaysHowToNameItsColumns) {
  std::string hint;
  const auto message = message_of([&] { load(section_for(data("gsm8k/train.jsonl")), smollm()); }, nullptr, &hint);
  EXPECT_EQ(message, data("gsm8k/train.jsonl") + ":1: no data format fits a record with: question, answer");
  EXPECT_TRUE(contains(hint, "data.prompt='{{ ... }}'"));

  auto section = section_for(data("gsm8k/train.jsonl"));
  section.fields = {{"prompt", "question"}, {"completion", "answer"}};
  section.limit = 20;
  EXPECT_TRUE(contains(all_text(load(section, smollm()).encoded.sequences[0], smollm()), "<<48/2=24>>"));
}

TEST_F(RealData, CesuBytesOfSnipsHaveAPlace) {
  auto section = section_for(data("snips/train_PlayMusic_full.json"));
  section.prompt = "x";
  section.completion = "{{ data }}";
  ExitCode code = ExitCode::ok;
  const auto message = message_of([&] { load(section, smollm()); }, &code);
  EXPECT_EQ(code, ExitCode::data);
  EXPECT_EQ(message, section.train[0].path +
                         ":9091: not UTF-8 at byte 150732: ED A0 BC is half of a UTF-16 surrogate pair (CESU-8)");
}

TEST_F(RealData, AnObjectThatHoldsOneArrayIsReadAndOneThatHoldsFourIsNot) {
  auto section = section_for(data("snips/validate_PlayMusic.json"));
  section.prompt = "{% for part in data %}{{ part.text }}{% endfor %} ->";
  section.completion =
      " {% for part in data %}{% if part.entity is defined %}{{ part.entity }};{% endif %}{% endfor %}.";
  EXPECT_EQ(load(section, smollm()).examples.size(), 100u);

  const auto clinc = section_for(data("clinc150/clinc_train_val.json"));
  const auto message = message_of([&] { load(clinc, smollm()); });
  EXPECT_TRUE(contains(message, "an object with 4: ")) << message;
}

TEST_F(RealData, MembersThatRestaurant8kLeavesOutAreErrorsOrHaveADefault) {
  auto section = section_for(data("restaurant8k/train_0.json"));
  section.prompt = "{{ userInput.text }}\n";
  section.completion = "{% for label in labels %}{{ label.valueSpan.startIndex }} {% endfor %}.";
  const auto message = message_of([&] { load(section, smollm()); });
  EXPECT_TRUE(contains(message, "train_0.json:109: record 7: data.completion: \"labels\" is not a field of the record"))
      << message;
  EXPECT_TRUE(contains(message, "which has: userInput (2,911 in all: also lines 181, ")) << message;

  section.limit = 200;
  section.completion =
      "Starts:{% for label in labels | default([]) %}{{ label.valueSpan.startIndex | default(0) }} {% endfor %}.";
  EXPECT_EQ(load(section, smollm()).examples.size(), 200u);
}

TEST_F(RealData, PromptAndCompletionOfMlx) {
  const auto set = load(section_for(data("mlx_prompt_completion/valid.jsonl")), smollm());
  EXPECT_EQ(set.format, DataFormat::completion);
  EXPECT_FALSE(set.chat);
  EXPECT_EQ(trained_text(set.encoded.sequences[0], smollm()),
            "Patrick Mahomes threw for 257 yards in Super Bowl LIX.<|endoftext|>");
}

TEST_F(RealData, SelfInstructAndCodegenRowsWithOtherNames) {
  auto section = section_for(data("gpteacher_codegen/codegen-instruct.json"));
  section.fields = {{"output", "response"}};
  section.limit = 100;
  EXPECT_EQ(load(section, qwen()).format, DataFormat::alpaca);
}

TEST_F(RealData, APlainTextFileIsOneDocumentOrItsLines) {
  auto section = section_for(data("llamafactory_demo/wiki_demo.txt"));
  section.limit = 2;
  EXPECT_EQ(load(section, smollm(), {.max_length = 1024, .threads = 2}).examples.size(), 1u);
  section.lines = true;
  EXPECT_EQ(load(section, smollm(), {.max_length = 1024, .threads = 2}).examples.size(), 2u);
}

}  // namespace
}  // namespace prentice
