#include "data/prompts.h"

#include "data/support.h"

namespace prentice {
namespace {

TEST(Prompts, AConversationIsAskedForItsLastAnswerAgain) {
  const Scratch scratch;
  const auto path = write_text(
      scratch, "rows.jsonl",
      R"({"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b","weight":0},{"role":"user","content":"c"},{"role":"assistant","content":"d"}]})"
      "\n"
      R"({"messages":[{"role":"system","content":"s"},{"role":"user","content":"only asked"}]})"
      "\n");
  const PromptSet set = load_prompts(section_for(path), office_tokenizer(), 1);
  ASSERT_EQ(set.prompts.size(), 2u);
  EXPECT_EQ(office_tokenizer().decode(set.prompts[0].ids, false),
            "<|user|>a<|assistant|>b<|end|><|user|>c<|assistant|>");
  EXPECT_EQ(office_tokenizer().decode(set.prompts[1].ids, false), "<|system|>s<|user|>only asked<|assistant|>");
  const Json row = answered(set.prompts[0], "new");
  ASSERT_EQ(row.at("messages").as_array().size(), 4u);
  EXPECT_EQ(row.at("messages").as_array()[1].at("weight").as_number(), 0) << "an untrained turn stays one";
  EXPECT_EQ(row.at("messages").as_array()[3].dump(), R"({"role": "assistant", "content": "new"})");
  EXPECT_TRUE(stands_apart(set.prompts[0], "new", office_tokenizer()));
}

TEST(Prompts, ARawPromptIsAskedAsItStandsAndItsRowComesBack) {
  const Scratch scratch;
  const auto path = write_text(scratch, "rows.jsonl",
                               R"({"prompt":"The train ti","completion":"cket"})"
                               "\n");
  DataSection section = section_for(path);
  section.chat = ChatMode::off;
  const PromptSet set = load_prompts(section, office_tokenizer(), 1);
  ASSERT_EQ(set.prompts.size(), 1u);
  EXPECT_EQ(set.prompts[0].ids, office_tokenizer().encode("The train ti", true));
  EXPECT_EQ(answered(set.prompts[0], " x").dump(), R"({"prompt": "The train ti", "completion": " x"})");
  EXPECT_TRUE(stands_apart(set.prompts[0], " x", office_tokenizer()));
  EXPECT_FALSE(stands_apart(set.prompts[0], "cket", office_tokenizer())) << "`ticket` is one token";
}

TEST(Prompts, ATextHasNone) {
  const Scratch scratch;
  const auto path = write_text(scratch, "rows.jsonl",
                               R"({"text":"a"})"
                               "\n");
  ExitCode code{};
  const std::string message = message_of([&] { load_prompts(section_for(path), office_tokenizer(), 1); }, &code);
  EXPECT_TRUE(contains(message, "rows.jsonl:1")) << message;
  EXPECT_EQ(code, ExitCode::data);
}

}  // namespace
}  // namespace prentice
