// Added tokens: their ids, and that the files written are read back as the tokenizer in memory. What transformers makes
// of the same words is in tests/oracle/test_add_tokens.py.
#include "text/add_tokens.h"

#include <gtest/gtest.h>

#include "text/fixtures.h"

namespace prentice {
namespace {

namespace fs = std::filesystem;
using testing::TemporaryFolder;

constexpr const char* kTexts[] = {"a<|ticket|>b", "<|ticket|> <|end|>\n<|other|>", "plain text", "<|tick et|>"};

// A copy of `folder` with `texts` in place of what it has.
void write_all(const Tokenizer& tokenizer, const TemporaryFolder& out) {
  for (const auto& entry : fs::directory_iterator(tokenizer.folder())) fs::copy(entry.path(), out.path());
  for (const auto& [name, text] : files_with_added_tokens(tokenizer)) out.write(name, text);
}

TEST(AddTokens, NewOnesTakeTheNextIdsAndKnownOnesKeepTheirs) {
  const auto plain = testing::tiny_tokenizer();
  const auto size = static_cast<int32_t>(plain.vocab_size());
  const auto additions = additions_to(plain, {"<|one|>", "<|end|>", "a", "<|two|>"});
  EXPECT_EQ(additions.new_ids, (std::vector<int32_t>{size, size + 1}));
  EXPECT_EQ(additions.in_vocabulary, (std::vector<std::string>{"<|end|>", "a"}));
  ASSERT_EQ(additions.tokens.size(), 3u);  // <|end|> is an added token already
  EXPECT_EQ(additions.tokens[1].content, "a");
  EXPECT_EQ(additions.tokens[1].id, plain.token_to_id("a"));
  EXPECT_EQ(additions.tokens[2].id, size + 1);
}

TEST(AddTokens, FilesAreReadBackAsTheTokenizerInMemory) {
  struct Case {
    const char* config;
    const char* special_map;  // nullptr: no such file
    const char* added;
  };
  const Case cases[] = {
      {R"({"bos_token":"<s>","eos_token":"</s>"})", nullptr, nullptr},
      {R"({"eos_token":"</s>","additional_special_tokens":["<|end|>"]})",
       R"({"additional_special_tokens":["<|end|>"],"eos_token":"</s>"})", R"({"<|end|>":100})"},
      {R"({"eos_token":"</s>","extra_special_tokens":["<|end|>"]})", nullptr, nullptr},
      {R"({"eos_token":"</s>","extra_special_tokens":{"image_token":"<|end|>"}})", nullptr, nullptr},
      {R"({"added_tokens_decoder":{"100":{"content":"<|end|>","special":true,"normalized":false}}})", nullptr, nullptr},
  };
  for (const auto& test : cases) {
    TemporaryFolder folder, out;
    folder.write("tokenizer.json", testing::tiny_tokenizer_json());
    folder.write("tokenizer_config.json", test.config);
    if (test.special_map) folder.write("special_tokens_map.json", test.special_map);
    if (test.added) folder.write("added_tokens.json", test.added);
    const auto plain = Tokenizer::load(folder.path());
    const auto grown = Tokenizer::load(folder.path(), additions_to(plain, {"<|ticket|>", "<|other|>", "b"}).tokens);
    EXPECT_EQ(grown.vocab_size(), plain.vocab_size() + 2);
    write_all(grown, out);
    const auto read = Tokenizer::load(out.path());
    EXPECT_EQ(read.vocab_size(), grown.vocab_size()) << test.config;
    for (const char* text : kTexts) {
      EXPECT_EQ(read.encode(text, true), grown.encode(text, true)) << text;
      EXPECT_EQ(read.decode(read.encode(text, true), true), grown.decode(grown.encode(text, true), true)) << text;
    }
    const auto ids = read.encode("x<|ticket|>y", false);
    ASSERT_EQ(ids.size(), 3u);
    EXPECT_EQ(ids[1], plain.vocab_size());
    EXPECT_TRUE(read.is_special(ids[1]));
    for (const char* name : {"special_tokens_map.json", "added_tokens.json"}) {
      EXPECT_EQ(fs::exists(out.path() / name), fs::exists(folder.path() / name)) << name;
    }
    EXPECT_EQ(read.tables().tokens, grown.tables().tokens);
    EXPECT_TRUE(additions_to(read, {"<|ticket|>", "<|other|>", "b"}).tokens.empty());
  }
}

TEST(AddTokens, ListsOfSpecialTokensGrowUnderTheirOwnName) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"eos_token":"</s>"})", "additional_special_tokens"},
      {R"({"additional_special_tokens":["<|end|>"]})", "additional_special_tokens"},
      {R"({"extra_special_tokens":["<|end|>"]})", "extra_special_tokens"},
      {R"({"extra_special_tokens":{"a":"<|end|>"}})", "additional_special_tokens"},
  };
  for (const auto& [config, key] : cases) {
    TemporaryFolder folder;
    folder.write("tokenizer.json", testing::tiny_tokenizer_json());
    folder.write("tokenizer_config.json", config);
    const auto additions = additions_to(Tokenizer::load(folder.path()), {"<|ticket|>"});
    const auto files = files_with_added_tokens(Tokenizer::load(folder.path(), additions.tokens));
    const Json written = Json::parse(files.at("tokenizer_config.json"));
    EXPECT_EQ(written.at(key).as_array().back().as_string(), "<|ticket|>") << config;
  }
}

TEST(AddTokens, WithoutNewTokensNoFileChanges) {
  TemporaryFolder folder;
  folder.write("tokenizer.json", testing::tiny_tokenizer_json());
  EXPECT_TRUE(files_with_added_tokens(Tokenizer::load(folder.path())).empty());
}

}  // namespace
}  // namespace prentice
