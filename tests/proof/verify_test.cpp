#include "proof/verify.h"

#include <map>

#include "export/tiny.h"

namespace prentice {
namespace {

// A copy of a GGUF file with another list under `key`.
void rewrite(const std::filesystem::path& from, const std::filesystem::path& to, const std::string& key,
             GgufArray list) {
  const auto file = GgufReader::open(from);
  auto metadata = file.metadata();
  std::ranges::find(metadata, "tokenizer.ggml." + key, &GgufEntry::key)->value = std::move(list);
  GgufWriter writer(to, metadata, {file.tensors().begin(), file.tensors().end()});
  for (const auto& tensor : file.tensors()) writer.write(tensor.name, tensor.bytes);
  writer.finish();
}

template <class List, class Change>
std::string told_of(const std::filesystem::path& from, const std::string& key, const List& list, const Change& change,
                    const std::function<Verification(const std::filesystem::path&)>& verify) {
  List changed = list;
  change(changed);
  const std::filesystem::path to = from.string() + ".changed";
  std::filesystem::remove(to);
  if constexpr (std::is_same_v<List, std::vector<std::string>>) {
    rewrite(from, to, key, gguf_array(changed));
  } else {
    rewrite(from, to, key, gguf_array(std::span(std::as_const(changed))));
  }
  const Verification found = verify(to);
  const auto check = std::ranges::find(found.checks, "token list", &Check::name);
  return std::string(check->passed ? "passed: " : "failed: ") + check->detail;
}

TEST(VerifyGguf, WhatDiffersInTheVocabularyIsNamed) {
  const std::filesystem::path tokens = "data/quickstart/tokenizer";  // byte-level BPE, 1,276 merges
  Json config = tiny_config();
  auto members = config.as_object();
  for (auto& [key, value] : members) {
    if (key == "vocab_size") value = 1536;
  }
  const Model model = tiny_model(Json(std::move(members)));
  const Scratch scratch;
  const auto path = scratch / "it.gguf";
  const auto tokenizer = Tokenizer::load(tokens);
  const auto source = WeightSource::from_model(model);
  const GgufOptions options{.type = FileType::F32, .name = "it"};
  write_gguf(source, model.spec, tokenizer, path, options);
  const auto verify = [&](const auto& file) { return verify_gguf(file, source, model.spec, tokenizer, options); };
  const TokenizerTables tables = tokenizer.tables();
  using Words = std::vector<std::string>;
  const auto words = [&](const char* key, const Words& list, const std::function<void(Words&)>& change) {
    return told_of(path, key, list, change, verify);
  };
  const auto same = [](auto&) {};
  EXPECT_EQ(words("tokens", tables.tokens, same), "passed: 1536 tokens");
  EXPECT_EQ(words("tokens", tables.tokens, [](Words& list) { list[700] += "x"; }),
            "failed: token 700: expected " + Json(tables.tokens[700]).dump() + ", got " +
                Json(tables.tokens[700] + "x").dump());
  EXPECT_EQ(words("tokens", tables.tokens, [](Words& list) { list.pop_back(); }),
            "failed: expected 1536 tokens, got 1535 and 1536 types");
  EXPECT_EQ(words("merges", tables.merges, [](Words& list) { std::swap(list[41], list[42]); }),
            "failed: merges differ from merge 41 on");
  EXPECT_EQ(words("merges", tables.merges, [](Words& list) { list.pop_back(); }),
            "failed: merges differ from merge 1275 on");
  std::vector<int32_t> types;
  for (const TokenType type : tables.types) types.push_back(static_cast<int32_t>(type));
  EXPECT_EQ(told_of(
                path, "token_type", types, [](auto& list) { list[700] = 4; }, verify),
            "failed: token 700 (" + Json(tables.tokens[700]).dump() + "): expected type 1, got 4");
}

TEST(VerifyGguf, AScoreThatDiffersIsNamed) {
  const auto folder = shared_model("stories260K-hf");  // SentencePiece
  PRENTICE_NEEDS_SHARED(folder);
  const Scratch scratch;
  const auto path = scratch / "it.gguf";
  const auto spec = read_spec(folder);
  const auto tokenizer = Tokenizer::load(folder);
  const auto source = WeightSource::from_folder(spec, folder);
  const GgufOptions options{.type = FileType::F32, .name = "it"};
  write_gguf(source, spec, tokenizer, path, options);
  const auto verify = [&](const auto& file) { return verify_gguf(file, source, spec, tokenizer, options); };
  EXPECT_EQ(told_of(
                path, "scores", tokenizer.tables().scores, [](auto& list) { list[300] -= 1; }, verify),
            "failed: scores differ from token 300 on");
}

}  // namespace
}  // namespace prentice
