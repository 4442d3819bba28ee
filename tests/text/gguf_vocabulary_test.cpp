// Tokenizers that a GGUF file describes: ids as llama.cpp gives them, and descriptions that are refused.
#include "text/gguf_vocabulary.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <functional>

#include "core/error.h"
#include "temp_dir.h"

namespace prentice {
namespace {

using Metadata = std::vector<GgufEntry>;

GgufValue& value(Metadata& metadata, const std::string& key) {
  return std::ranges::find(metadata, "tokenizer.ggml." + key, &GgufEntry::key)->value;
}
void remove(Metadata& metadata, const std::string& key) {
  std::erase_if(metadata, [&](const auto& entry) { return entry.key == "tokenizer.ggml." + key; });
}

Metadata bytes_of_words() {
  const std::vector<std::string> tokens = {"<|end|>", "a", "b", "ab", "\u0120", "\u0120ab", "<tool>"};
  const std::vector<int32_t> types = {3, 1, 1, 1, 1, 1, 4};
  return {{"tokenizer.ggml.model", std::string("gpt2")},
          {"tokenizer.ggml.pre", std::string("gpt-2")},
          {"tokenizer.ggml.tokens", gguf_array(tokens)},
          {"tokenizer.ggml.token_type", gguf_array(types)},
          {"tokenizer.ggml.merges", gguf_array(std::vector<std::string>{"a b", "\u0120 ab"})},
          {"tokenizer.ggml.eos_token_id", uint32_t{0}},
          {"tokenizer.chat_template", std::string("{{ messages }}")}};
}

Metadata pieces() {
  const std::vector<std::string> tokens = {"<unk>", "<s>", "</s>", "\u2581", "a", "\u2581a", "<tool>"};
  const std::vector<float> scores = {0, 0, 0, -3, -2, -1, -1000};
  const std::vector<int32_t> types = {2, 3, 3, 1, 1, 1, 4};
  return {{"tokenizer.ggml.model", std::string("llama")},
          {"tokenizer.ggml.tokens", gguf_array(tokens)},
          {"tokenizer.ggml.scores", gguf_array(scores)},
          {"tokenizer.ggml.token_type", gguf_array(types)}};
}

Tokenizer load(const toy::TempDir& folder, const Metadata& metadata) {
  std::filesystem::remove(folder / "model.gguf");  // of the case before
  GgufWriter(folder / "model.gguf", metadata, {}).finish();
  return Tokenizer::load(folder / "model.gguf");
}

using Ids = std::vector<int32_t>;

TEST(GgufVocabulary, MergesWordsOfBytesAndFindsAddedTokens) {
  const toy::TempDir folder;
  const Tokenizer tokenizer = load(folder, bytes_of_words());
  EXPECT_EQ(tokenizer.encode("ab ab<tool>b<|end|>", true), (Ids{3, 5, 6, 2, 0}));
  EXPECT_EQ(tokenizer.decode(Ids{3, 5, 6, 0}, true), "ab ab<tool>");
  EXPECT_EQ(tokenizer.eos_id(), 0);
  EXPECT_TRUE(tokenizer.is_special(0));
  EXPECT_FALSE(tokenizer.is_special(6));
  EXPECT_EQ(tokenizer.chat_template(), "{{ messages }}");
}

TEST(GgufVocabulary, PutsASpaceBeforeTheTextAndBehindAddedTokens) {
  const toy::TempDir folder;
  const Tokenizer tokenizer = load(folder, pieces());
  EXPECT_EQ(tokenizer.encode("a a<tool>a", true), (Ids{1, 5, 5, 6, 5}));
  EXPECT_EQ(tokenizer.bos_id(), 1);  // llama.cpp's own defaults
  EXPECT_EQ(tokenizer.eos_id(), 2);
  EXPECT_EQ(tokenizer.unk_id(), 0);
  Metadata bare = pieces();
  bare.push_back({"tokenizer.ggml.add_space_prefix", false});
  bare.push_back({"tokenizer.ggml.add_bos_token", false});
  EXPECT_EQ(load(folder, bare).encode("aa", true), (Ids{4, 4}));
}

TEST(GgufVocabulary, ABeginningIsAddedWhereFileOrPreTokenizerSaySo) {
  const toy::TempDir folder;
  Metadata words = bytes_of_words();
  words.push_back({"tokenizer.ggml.bos_token_id", uint32_t{0}});
  EXPECT_EQ(load(folder, words).encode("a", true), (Ids{1}));
  value(words, "pre") = std::string("llama-bpe");
  EXPECT_EQ(load(folder, words).encode("a", true), (Ids{0, 1}));
  words.push_back({"tokenizer.ggml.add_bos_token", false});
  words.push_back({"tokenizer.ggml.add_eos_token", true});
  EXPECT_EQ(load(folder, words).encode("a", true), (Ids{1, 0}));
}

struct Fault {
  const char* what;
  std::function<void(Metadata&)> plant;
  const char* told;
};

TEST(GgufVocabulary, WhatIsWrongIsToldByName) {
  const auto texts = [](std::vector<std::string> list) { return gguf_array(list); };
  const Fault faults[] = {
      {"no model", [](Metadata& m) { remove(m, "model"); }, "tokenizer.ggml.model is missing"},
      {"another model", [](Metadata& m) { value(m, "model") = std::string("t5"); }, "t5 is not supported"},
      {"no tokens", [](Metadata& m) { remove(m, "tokens"); }, "tokenizer.ggml.tokens is missing"},
      {"tokens that are no texts", [](Metadata& m) { value(m, "tokens") = gguf_array(std::vector<int32_t>{1}); },
       "string"},
      {"an empty list", [&](Metadata& m) { value(m, "tokens") = texts({}); }, "empty"},
      {"one text twice",
       [&](Metadata& m) {
         value(m, "tokens") = texts({"a", "b", "ab", "a", "c", "d", "e"});
       },
       "same text"},
      {"no UTF-8",
       [&](Metadata& m) {
         value(m, "tokens") = texts({"\xff", "a", "b", "ab", "c", "d", "e"});
       },
       "not UTF-8"},
      {"types of other tokens",
       [](Metadata& m) {
         value(m, "token_type") = gguf_array(std::vector<int32_t>{1, 1});
       },
       "2 entries for 7 tokens"},
      {"a type that is none",
       [](Metadata& m) {
         value(m, "token_type") = gguf_array(std::vector<int32_t>{9, 1, 1, 1, 1, 1, 1});
       },
       "type 9"},
      {"no merges", [](Metadata& m) { remove(m, "merges"); }, "tokenizer.ggml.merges is missing"},
      {"a merge of one piece", [&](Metadata& m) { value(m, "merges") = texts({"ab"}); }, "not two pieces"},
      {"a merge of other pieces", [&](Metadata& m) { value(m, "merges") = texts({"x y"}); }, "x"},
      {"another way to split", [](Metadata& m) { value(m, "pre") = std::string("new"); }, "pre: new is not supported"},
      {"a merge that makes no token", [&](Metadata& m) { value(m, "merges") = texts({"b a"}); },
       "\"ba\" is not a token"},
      {"more tokens to look for than a text can be searched for",
       [](Metadata& m) {
         std::vector<std::string> tokens;
         for (int i = 0; i < 20000; ++i) tokens.push_back(std::to_string(i));
         value(m, "tokens") = gguf_array(tokens);
         value(m, "token_type") = gguf_array(std::vector<int32_t>(tokens.size(), 4));
         value(m, "merges") = gguf_array(std::vector<std::string>{});
       },
       "more than 16384 tokens"},
      {"a template longer than any",
       [](Metadata& m) {
         std::ranges::find(m, "tokenizer.chat_template", &GgufEntry::key)->value = std::string((1 << 20) + 1, 'x');
       },
       "1048577 bytes"},
      {"an id that is no number", [](Metadata& m) { value(m, "eos_token_id") = std::string("0"); }, "a whole number"},
  };
  for (const auto& [what, plant, told] : faults) {
    const toy::TempDir folder;
    Metadata metadata = bytes_of_words();
    plant(metadata);
    try {
      load(folder, metadata);
      ADD_FAILURE() << what << ": taken as a tokenizer";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::model) << what;
      EXPECT_NE(std::string(error.what()).find(told), std::string::npos) << what << ": " << error.what();
    }
  }
  const toy::TempDir folder;
  Metadata few = pieces();
  value(few, "scores") = gguf_array(std::vector<float>{1});
  EXPECT_THROW(load(folder, few), Error);
}

}  // namespace
}  // namespace prentice
