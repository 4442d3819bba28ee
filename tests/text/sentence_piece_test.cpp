// The layers above SentencePiece. Ids of the pieces themselves are in the golden cases; the expected ids here were
// given by transformers 5.23 (LlamaTokenizer on the same folder).
#include "text/sentence_piece.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "text/added_splitter.h"
#include "text/fixtures.h"

namespace prentice {
namespace {

namespace fs = std::filesystem;
using Ids = std::vector<int32_t>;

fs::path mistral() { return testing::shared_data() / "tokenizers/mistral_spm/tokenizer.model.v1"; }

Tokenizer load_mistral(const std::string& config) {
  testing::TemporaryFolder folder;
  fs::copy_file(mistral(), folder.path() / "tokenizer.model");
  if (!config.empty()) folder.write("tokenizer_config.json", config);
  return Tokenizer::load(folder.path());
}

const char* kImEnd = R"("added_tokens_decoder":{"32000":{"content":"<|im_end|>","special":true}})";

TEST(SentencePiece, SpecialTokensInTheTextAreSplitOffFirst) {
  if (!fs::exists(mistral())) GTEST_SKIP() << mistral() << " is absent";
  auto legacy = load_mistral(R"({"legacy":true,"add_bos_token":true})");
  EXPECT_EQ(legacy.encode("a</s>b</s> c", true).front(), 1);
  EXPECT_EQ(legacy.encode("a</s>b", false), (Ids{264, 2, 287}));
  auto later = load_mistral(R"({"legacy":false,"add_bos_token":false})");
  EXPECT_EQ(later.encode("a</s>b</s> c", true), (Ids{264, 2, 28726, 2, 277}));
  auto added = load_mistral(std::string(R"({"legacy":true,"add_bos_token":false,)") + kImEnd + "}");
  EXPECT_EQ(added.encode("<|im_end|>hi", true), (Ids{32000, 12014}));
  EXPECT_EQ(added.vocab_size(), 32001);
  EXPECT_EQ(added.decode(Ids{32000, 12014}, false), "<|im_end|> hi");
  EXPECT_EQ(added.decode(Ids{32000, 12014}, true), "hi");
}

TEST(SentencePiece, WithoutAConfigBosIsTheModelsOwn) {
  if (!fs::exists(mistral())) GTEST_SKIP() << mistral() << " is absent";
  auto tokenizer = load_mistral("");
  EXPECT_EQ(tokenizer.encode("", true), Ids{1});
  EXPECT_EQ(tokenizer.bos_token() + tokenizer.eos_token(), "<s></s>");
  auto with_eos = load_mistral(R"({"add_eos_token":true,"bos_token":null})");
  EXPECT_EQ(with_eos.encode("", true), Ids{2});
  EXPECT_FALSE(with_eos.bos_id());
}

TEST(SentencePiece, OffsetsAreBytesOfTheWholeText) {
  if (!fs::exists(mistral())) GTEST_SKIP() << mistral() << " is absent";
  std::string text = "caf\u00e9</s>\U0001f999 x";
  auto encoding = load_mistral("").encode_with_offsets(text, true);
  EXPECT_EQ(encoding.offsets.front(), (ByteSpan{0, 0}));
  int64_t at = 0;
  for (auto span : encoding.offsets) {
    EXPECT_GE(span.begin, at);
    at = std::max(at, span.begin);
  }
  EXPECT_EQ(encoding.offsets.back().end, static_cast<int64_t>(text.size()));
}

TEST(SentencePiece, ABatchReportsABadTextFromAnyThread) {
  if (!fs::exists(mistral())) GTEST_SKIP() << mistral() << " is absent";
  auto tokenizer = load_mistral("");
  std::vector<std::string> texts(50, "some text");
  auto four = tokenizer.encode_batch(texts, true, true, 4);
  EXPECT_EQ(four[49].ids, tokenizer.encode("some text", true));
  texts[31] = "\xff";
  EXPECT_THROW(tokenizer.encode_batch(texts, true, false, 4), Error);
}

TEST(SentencePiece, AnAddedTokenThatContradictsTheModelIsRefused) {
  if (!fs::exists(mistral())) GTEST_SKIP() << mistral() << " is absent";
  EXPECT_THROW(load_mistral(R"({"added_tokens_decoder":{"9":{"content":"</s>","special":true}}})"), Error);
}

std::string split(const std::vector<AddedToken>& tokens, const std::string& text) {
  std::string out;
  for (const auto& piece : AddedTokenSplitter(tokens).split(text)) {
    auto begin = static_cast<size_t>(piece.bytes.begin),
         size = static_cast<size_t>(piece.bytes.end - piece.bytes.begin);
    out += (piece.id < 0 ? "." : std::to_string(piece.id)) + "[" + text.substr(begin, size) + "]";
  }
  return out;
}

TEST(AddedTokenSplitter, TakesTheLeftmostLongestAndTheSpaceATokenAsksFor) {
  const std::vector<AddedToken> tokens = {{.id = 1, .content = "<a>"},
                                          {.id = 2, .content = "<a>b"},
                                          {.id = 3, .content = "L", .lstrip = true},
                                          {.id = 4, .content = "R", .rstrip = true},
                                          {.id = 5, .content = "word", .single_word = true}};
  EXPECT_EQ(split(tokens, "x<a>b<a>"), ".[x]2[<a>b]1[<a>]");
  EXPECT_EQ(split(tokens, "a \n Lb"), ".[a]3[ \n L].[b]");
  EXPECT_EQ(split(tokens, "R \n x"), "4[R \n ].[x]");
  EXPECT_EQ(split(tokens, "R L"), "4[R ]3[L]");
  EXPECT_EQ(split(tokens, "sword word words"), ".[sword ]5[word].[ words]");
  EXPECT_EQ(split(tokens, ""), "");
}

}  // namespace
}  // namespace prentice
