#include "text/tokenizer.h"

#include <gtest/gtest.h>

#include <functional>

#include "core/error.h"
#include "text/fixtures.h"

namespace prentice {
namespace {

using testing::TemporaryFolder;

std::string failure(const std::function<void()>& body, ExitCode wanted) {
  try {
    body();
  } catch (const Error& error) {
    EXPECT_EQ(static_cast<int>(error.code()), static_cast<int>(wanted)) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "no error";
  return "";
}

TEST(Tokenizer, SpecialTokensInTheTextAreRecognised) {
  auto tokenizer = testing::tiny_tokenizer();
  auto ids = tokenizer.encode("<|im_start|>a b</s>", true);
  EXPECT_EQ(tokenizer.decode(ids, false), "<|im_start|>a b</s>");
  EXPECT_EQ(tokenizer.decode(ids, true), "a b");
  EXPECT_EQ(ids.front(), tokenizer.token_to_id("<|im_start|>"));
  EXPECT_EQ(ids.back(), tokenizer.eos_id());
  EXPECT_TRUE(tokenizer.is_special(ids.back()));
}

TEST(Tokenizer, OffsetsCoverTheTextWithoutAGap) {
  auto tokenizer = testing::tiny_tokenizer();
  std::string text = "one two\n <|end|> x";
  auto encoding = tokenizer.encode_with_offsets(text, false);
  int64_t at = 0;
  for (auto span : encoding.offsets) {
    EXPECT_EQ(span.begin, at);
    at = span.end;
  }
  EXPECT_EQ(at, static_cast<int64_t>(text.size()));
}

TEST(Tokenizer, ABatchGivesTheSameIdsWithAnyNumberOfThreads) {
  auto tokenizer = testing::tiny_tokenizer();
  std::vector<std::string> texts;
  for (int i = 0; i < 200; ++i) texts.push_back("row " + std::to_string(i * 7919) + " <|end|> end");
  auto one = tokenizer.encode_batch(texts, true, true, 1);
  auto four = tokenizer.encode_batch(texts, true, true, 4);
  ASSERT_EQ(one.size(), texts.size());
  for (size_t i = 0; i < texts.size(); ++i) {
    EXPECT_EQ(one[i].ids, tokenizer.encode(texts[i], true));
    EXPECT_EQ(one[i].ids, four[i].ids);
    EXPECT_EQ(one[i].offsets, four[i].offsets);
  }
  EXPECT_TRUE(tokenizer.encode_batch(texts, true, false, 4)[0].offsets.empty());
  EXPECT_TRUE(tokenizer.encode_batch({}, true, false, 4).empty());
}

TEST(Tokenizer, ATextThatIsNoUtf8IsADataError) {
  auto tokenizer = testing::tiny_tokenizer();
  EXPECT_NE(failure([&] { tokenizer.encode("ab\xff", true); }, ExitCode::data).find("UTF-8"), std::string::npos);
}

TEST(Tokenizer, TheFolderMustHoldATokenizer) {
  TemporaryFolder folder;
  EXPECT_NE(failure([&] { Tokenizer::load(folder.path()); }, ExitCode::model).find("no tokenizer"), std::string::npos);
  failure([&] { Tokenizer::load(folder.path() / "missing"); }, ExitCode::usage);
}

TEST(Tokenizer, CorruptFilesAreModelErrorsThatNameTheFile) {
  struct Case {
    std::string name, text;
  };
  const Case cases[] = {
      {"tokenizer.json", ""},
      {"tokenizer.json", "{"},
      {"tokenizer.json", "[]"},
      {"tokenizer.json", R"({"model":{"type":"BPE"}})"},
      {"tokenizer.json", std::string(100000, '[')},
      {"tokenizer.json", R"({"version":"1.0","model":{"type":"BPE","vocab":{},"merges":[]}})"},
      {"tokenizer.json", R"({"version":"1.0","model":{"type":"BPE","vocab":{"a":4294967295},"merges":[]}})"},
      {"tokenizer.json",
       R"({"version":"1.0","pre_tokenizer":{"type":"Nothing"},"model":{"type":"BPE","vocab":{"a":0},"merges":[]}})"},
      {"tokenizer.json", R"({"version":"1.0","model":{"type":"BPE","vocab":{"a":0},"merges":["x y"]}})"},
      {"tokenizer.json", std::string("\x80\x00", 2)},
      {"tokenizer.model", "not a protobuf"},
      {"tokenizer.model", std::string("\x0a\xff\xff\xff\xff\x0f", 6)},
      {"tokenizer.model", ""},
  };
  for (const auto& [name, text] : cases) {
    TemporaryFolder folder;
    folder.write(name, text);
    EXPECT_NE(failure([&] { Tokenizer::load(folder.path()); }, ExitCode::model).find(name), std::string::npos) << text;
  }
}

TEST(Tokenizer, ARegularExpressionThatCanGrowIsRefusedBeforeItIsCompiled) {
  for (std::string pattern : {std::string(5000, 'a'), std::string("((a{1000}){1000}){1000}")}) {
    TemporaryFolder folder;
    folder.write("tokenizer.json",
                 R"({"version":"1.0","pre_tokenizer":{"type":"Split","pattern":{"Regex":")" + pattern +
                     R"("},"behavior":"Isolated","invert":false},"model":{"type":"BPE","vocab":{"a":0},"merges":[]}})");
    EXPECT_NE(failure([&] { Tokenizer::load(folder.path()); }, ExitCode::model).find("regular expression"),
              std::string::npos);
  }
}

TEST(Tokenizer, ARegularExpressionThatBacktracksWithoutEndIsAnErrorNotAHang) {
  TemporaryFolder folder;
  folder.write("tokenizer.json",
               R"({"version":"1.0","pre_tokenizer":{"type":"Split","pattern":{"Regex":"^(\\w|\\w\\w)+$"},"behavior":)"
               R"("Isolated","invert":false},"model":{"type":"BPE","vocab":{"a":0},"merges":[]}})");
  auto tokenizer = Tokenizer::load(folder.path());
  failure([&] { tokenizer.encode(std::string(200, 'a') + "!", true); }, ExitCode::data);
}

TEST(Tokenizer, TruncationPaddingAndDropoutAreIgnored) {
  TemporaryFolder folder;
  std::string json = testing::tiny_tokenizer_json(testing::family_tokens(), R"("dropout":0.9,)");
  json.replace(0, 1,
               R"({"truncation":{"direction":"Right","max_length":4,"strategy":"LongestFirst","stride":0},)"
               R"("padding":{"strategy":{"Fixed":64},"direction":"Right","pad_to_multiple_of":null,"pad_id":0,)"
               R"("pad_type_id":0,"pad_token":"!"},)");
  folder.write("tokenizer.json", json);
  EXPECT_EQ(Tokenizer::load(folder.path()).encode("0123456789", true).size(), 10u);
}

TEST(Tokenizer, SpecialTokensComeFromTheConfigThenTheMapThenTheModelThenTheirUsualNames) {
  struct Case {
    std::string config, map, model, bos, eos;
  };
  const Case cases[] = {
      {R"({"bos_token":"<|im_start|>","eos_token":{"content":"<|im_end|>"}})", R"({"eos_token":"</s>"})", "",
       "<|im_start|>", "<|im_end|>"},
      {R"({"model_max_length":1000000000000000019884624838656})", R"({"eos_token":{"content":"<|end|>"}})", "", "<s>",
       "<|end|>"},
      {"", "", R"({"eos_token_id":[99,97],"bos_token_id":98})", "<|im_start|>", "<|im_end|>"},
      {R"({"bos_token":null})", "", "", "", "</s>"},
      {"", "", "", "<s>", "</s>"},
  };
  for (const auto& c : cases) {
    TemporaryFolder folder;
    folder.write("tokenizer.json", testing::tiny_tokenizer_json());
    if (!c.config.empty()) folder.write("tokenizer_config.json", c.config);
    if (!c.map.empty()) folder.write("special_tokens_map.json", c.map);
    if (!c.model.empty()) folder.write("config.json", c.model);
    auto tokenizer = Tokenizer::load(folder.path());
    EXPECT_EQ(tokenizer.bos_token(), c.bos) << c.config << c.model;
    EXPECT_EQ(tokenizer.eos_token(), c.eos) << c.config << c.model;
  }
}

TEST(Tokenizer, ASpecialTokenThatTheVocabularyLacksIsAnError) {
  EXPECT_NE(failure([] { testing::tiny_tokenizer(R"({"eos_token":"<nowhere>"})"); }, ExitCode::model)
                .find("eos_token \"<nowhere>\""),
            std::string::npos);
}

TEST(Tokenizer, TokensThatOnlyTheConfigAddsAreFound) {
  auto tokenizer = testing::tiny_tokenizer(
      R"({"eos_token":"</s>","added_tokens_decoder":{"112":{"content":"<new>","special":true}}})");
  EXPECT_EQ(tokenizer.vocab_size(), 113);
  EXPECT_EQ(tokenizer.encode("a<new>", true).back(), 112);
  failure([] { testing::tiny_tokenizer(R"({"added_tokens_decoder":{"500":{"content":"<new>","special":true}}})"); },
          ExitCode::model);
}

TEST(Tokenizer, TheTemplateFileWinsOverTheConfig) {
  TemporaryFolder folder;
  folder.write("tokenizer.json", testing::tiny_tokenizer_json());
  EXPECT_FALSE(Tokenizer::load(folder.path()).chat_template());
  folder.write("tokenizer_config.json",
               R"({"chat_template":[{"name":"rag","template":"R"},{"name":"default","template":"D"}]})");
  EXPECT_EQ(Tokenizer::load(folder.path()).chat_template(), "D");
  EXPECT_EQ(Tokenizer::load(folder.path()).chat_template_file(), folder.path() / "tokenizer_config.json");
  folder.write("chat_template.jinja", "J");
  EXPECT_EQ(Tokenizer::load(folder.path()).chat_template(), "J");
  EXPECT_EQ(Tokenizer::load(folder.path()).chat_template_file(), folder.path() / "chat_template.jinja");
}

TEST(StreamDecoder, KeepsBackTheBytesOfAnIncompleteCharacter) {
  auto folder = testing::shared_data() / "tokenizers/gpt2_hf_json";
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << folder << " is absent";
  auto tokenizer = Tokenizer::load(folder);
  std::string text = "Hi \U0001f999 \u4f60\u597d!";
  auto ids = tokenizer.encode(text, true);
  StreamDecoder stream(tokenizer);
  std::string out;
  for (int32_t id : ids) {
    std::string part = stream.push(id);
    EXPECT_EQ(part.find("\ufffd"), std::string::npos);
    out += part;
  }
  EXPECT_EQ(out + stream.finish(), text);
  // Cut inside the llama: what is left of it shows only at the end.
  auto part = std::span(ids).first(3);
  StreamDecoder cut(tokenizer);
  std::string shown;
  for (int32_t id : part) shown += cut.push(id);
  EXPECT_EQ(shown, "Hi");
  EXPECT_EQ(shown + cut.finish(), tokenizer.decode(part, true));
}

}  // namespace
}  // namespace prentice
