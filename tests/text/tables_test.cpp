#include "text/tables.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <unordered_map>

#include "core/error.h"
#include "core/utf8.h"
#include "io/gguf.h"
#include "io/sha256.h"
#include "text/fixtures.h"
#include "text/pre_tokenizer.h"

namespace prentice {
namespace {

namespace fs = std::filesystem;

#define SKIP_WITHOUT(path) \
  if (!fs::exists(path)) GTEST_SKIP() << (path) << " is absent"

// llama.cpp's SPM tokenizer: join the neighbours whose joined piece has the highest score, leftmost on ties; what is in
// no vocabulary becomes bytes.
std::vector<int32_t> join_by_score(const TokenizerTables& tables, const std::string& text) {
  std::unordered_map<std::string, int32_t> ids;
  for (size_t id = 0; id < tables.tokens.size(); ++id) ids.emplace(tables.tokens[id], static_cast<int32_t>(id));
  std::vector<std::string> symbols;
  std::string spaced = tables.add_space_prefix ? " " + text : text;
  for (size_t at = 0; at < spaced.size(); at += utf8_size_by_lead(spaced, at)) {
    std::string c = spaced.substr(at, utf8_size_by_lead(spaced, at));
    symbols.push_back(c == " " ? "\u2581" : c);
  }
  for (;;) {
    size_t best = symbols.size();
    float best_score = 0;
    for (size_t i = 0; i + 1 < symbols.size(); ++i) {
      auto found = ids.find(symbols[i] + symbols[i + 1]);
      if (found == ids.end()) continue;
      float score = tables.scores[static_cast<size_t>(found->second)];
      if (best == symbols.size() || score > best_score) best = i, best_score = score;
    }
    if (best == symbols.size()) break;
    symbols[best] += symbols[best + 1];
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(best) + 1);
  }
  std::vector<int32_t> out;
  for (const auto& symbol : symbols) {
    if (auto found = ids.find(symbol); found != ids.end()) {
      out.push_back(found->second);
      continue;
    }
    for (char c : symbol) out.push_back(ids.at(fmt::format("<0x{:02X}>", static_cast<unsigned char>(c))));
  }
  return out;
}

TEST(Tables, ScoresDerivedFromMergesJoinAsTheBpeDoes) {
  auto model = testing::shared_data() / "models/stories260K-hf";
  SKIP_WITHOUT(model);
  testing::TemporaryFolder folder;
  fs::copy_file(model / "tokenizer.json", folder.path() / "tokenizer.json");
  auto derived = Tokenizer::load(folder.path());  // no tokenizer.model: its scores are not to be had
  auto with_model = Tokenizer::load(model);
  auto tables = derived.tables(), own = with_model.tables();
  ASSERT_FALSE(tables.is_bpe);
  EXPECT_NE(tables.scores, own.scores);
  for (std::string text : {"Once upon a time, there was a little girl named Lily.", "aaaaaaa  the they then\nthere",
                           "He said: \"No!\" and wanted to go to the \U0001f999 zoo", "x"}) {
    auto ids = derived.encode(text, false);
    EXPECT_EQ(join_by_score(tables, text), ids) << text;
    EXPECT_EQ(join_by_score(own, text), ids) << text;
  }
}

TEST(Tables, TypesOfASentencePieceLikeVocabulary) {
  auto model = testing::shared_data() / "models/stories260K-hf";
  SKIP_WITHOUT(model);
  auto tables = Tokenizer::load(model).tables();
  ASSERT_EQ(tables.tokens.size(), 512u);
  EXPECT_EQ(tables.types[0], TokenType::unknown);
  EXPECT_EQ(tables.types[1], TokenType::control);
  EXPECT_EQ(tables.types[3], TokenType::byte);
  EXPECT_EQ(tables.types[300], TokenType::normal);
  EXPECT_TRUE(tables.add_bos && tables.add_space_prefix && !tables.add_eos);
}

TEST(Tables, Gpt2EqualsTheVocabularyThatLlamaCppShips) {
  auto gguf = testing::shared_data() / "tokenizers/llamacpp_vocab/ggml-vocab-gpt-2.gguf";
  SKIP_WITHOUT(gguf);
  auto tables = Tokenizer::load(testing::shared_data() / "tokenizers/gpt2_hf_json").tables();
  auto reader = GgufReader::open(gguf);
  auto tokens = reader.get<GgufArray>("tokenizer.ggml.tokens").strings();
  auto merges = reader.get<GgufArray>("tokenizer.ggml.merges").strings();
  auto types = reader.get<GgufArray>("tokenizer.ggml.token_type").integers();
  EXPECT_TRUE(tables.is_bpe);
  ASSERT_EQ(tables.tokens.size(), tokens.size());
  EXPECT_TRUE(std::equal(tokens.begin(), tokens.end(), tables.tokens.begin()));
  ASSERT_EQ(tables.merges.size(), merges.size());
  EXPECT_TRUE(std::equal(merges.begin(), merges.end(), tables.merges.begin()));
  for (size_t id = 0; id < types.size(); ++id) EXPECT_EQ(static_cast<int32_t>(tables.types[id]), types[id]) << id;
}

TEST(Tables, AddedTokensAndHolesGetTheTypesOfTheConverter) {
  testing::TemporaryFolder folder;
  folder.write(
      "tokenizer.json",
      R"({"version":"1.0","added_tokens":[)"
      R"({"id":5,"content":"\u2581x","single_word":false,"lstrip":false,"rstrip":false,"normalized":true,"special":false},)"
      R"({"id":6,"content":"<|m|>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":false}],)"
      R"("normalizer":{"type":"Replace","pattern":{"String":" "},"content":"\u2581"},"pre_tokenizer":null,)"
      R"("post_processor":null,"decoder":null,"model":{"type":"BPE","unk_token":"<unk>","byte_fallback":true,)"
      R"("fuse_unk":true,"vocab":{"<unk>":0,"<0x41>":1,"a":2,"aa":3,"z":7},"merges":["a a"]}})");
  auto tables = Tokenizer::load(folder.path()).tables();
  using enum TokenType;
  EXPECT_EQ(tables.types, (std::vector{unknown, byte, normal, normal, unused, user_defined, control, normal}));
  EXPECT_EQ(tables.tokens[5], " x");
  EXPECT_EQ(tables.tokens[4], "[PAD4]");
  EXPECT_EQ(tables.scores, (std::vector<float>{0, 0, -1, 0, -10000, -1000, -1000, -1}));
  EXPECT_FALSE(tables.add_space_prefix || tables.add_bos);
}

TEST(PreTokenizer, TheCheckTextIsLlamaCpps) {
  EXPECT_EQ(kCheckText.size(), 431u);
  EXPECT_EQ(sha256_hex(kCheckText), "a36179c1e2b1cfcfbfad1dc779addad2ffc778201e4cf0d538bddeafa2c526da");
}

TEST(PreTokenizer, SharedTokenizersAreKnownByTheirHash) {
  SKIP_WITHOUT(testing::shared_data() / "tokenizers");
  for (auto [folder, name] : {std::pair("tokenizers/gpt2_hf_json", "gpt-2"),
                              {"tokenizers/qwen2_bpe", "qwen2"},
                              {"tokenizers/smollm_hf_json", "smollm"},
                              {"models/stories260K-hf", "default"}}) {
    EXPECT_EQ(gguf_pre_tokenizer(Tokenizer::load(testing::shared_data() / folder)), name);
  }
}

TEST(PreTokenizer, AnUnknownVocabularyIsKnownByItsPatternOrNotAtAll) {
  testing::TemporaryFolder tiny;
  tiny.write("tokenizer.json", testing::tiny_tokenizer_json());
  EXPECT_EQ(gguf_pre_tokenizer(Tokenizer::load(tiny.path())), "gpt-2");
  EXPECT_EQ(gguf_pre_tokenizer(Tokenizer::load("data/quickstart/tokenizer")), "gpt-2");
  for (auto [pattern, name] : {std::pair(std::string(kQwen2Pattern), "qwen2"), {std::string("\\d+"), ""}}) {
    testing::TemporaryFolder folder;
    std::string json = testing::tiny_tokenizer_json();
    std::string old = R"({"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true})";
    Json split = Json::Object{
        {"type", "Split"}, {"pattern", Json::Object{{"Regex", pattern}}}, {"behavior", "Isolated"}, {"invert", false}};
    Json bytes = Json::parse(R"({"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":false})");
    Json both = Json::Object{{"type", "Sequence"}, {"pretokenizers", Json::Array{split, bytes}}};
    json.replace(json.find(old), old.size(), both.dump());
    folder.write("tokenizer.json", json);
    EXPECT_EQ(gguf_pre_tokenizer(Tokenizer::load(folder.path())), name);
  }
}

}  // namespace
}  // namespace prentice
