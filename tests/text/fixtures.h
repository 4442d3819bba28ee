// Folders, tokenizers and conversations that the tests of this room share.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "io/json.h"
#include "text/tokenizer.h"

namespace prentice::testing {

inline std::filesystem::path shared_data() {
  const char* set = std::getenv("PRENTICE_TEST_DATA");
  return set ? set : "../shared/data";
}

// A folder that goes away with the object.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "prentice-text-XXXXXX").string();
    if (!mkdtemp(pattern.data())) std::abort();
    path_ = pattern;
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  const std::filesystem::path& path() const { return path_; }
  void write(const std::string& name, const std::string& text) const { std::ofstream(path_ / name) << text; }

 private:
  std::filesystem::path path_;
};

inline Json added_token(const std::string& content, int id, bool special) {
  return Json::Object{{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
                      {"rstrip", false}, {"normalized", false}, {"special", special}};
}

// The added tokens of the tiny tokenizer: those of the chat families, [text, special].
inline Json family_tokens() {
  return Json::parse(R"([["<s>",true],["</s>",true],["<|im_start|>",true],["<|im_end|>",true],["<|end|>",true],
    ["<|user|>",true],["<|assistant|>",true],["<|eot_id|>",true],["<end_of_turn>",true],["<start_of_turn>",true],
    ["[INST]",true],["[/INST]",true],["<think>",false],["</think>",false],["<tool_call>",false],
    ["</tool_call>",false]])");
}

// A tiny byte-level BPE without merges: ids 0..93 are the printable characters of ASCII, then space and newline, then
// the added tokens. `model` is put into the model section.
inline std::string tiny_tokenizer_json(const Json& tokens = family_tokens(), const std::string& model = "") {
  Json::Object vocab;
  int id = 0;
  for (int c = 33; c < 127; ++c) vocab.emplace_back(std::string(1, static_cast<char>(c)), id++);
  vocab.emplace_back("\u0120", id++);
  vocab.emplace_back("\u010a", id++);
  Json::Array added;
  for (const auto& token : tokens.as_array()) {
    added.push_back(added_token(token.as_array()[0].as_string(), id++, token.as_array()[1].as_bool()));
  }
  return R"({"version":"1.0","added_tokens":)" + Json(added).dump() +
         R"(,"normalizer":null,"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true},)"
         R"("post_processor":null,"decoder":{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true,)"
         R"("use_regex":true},"model":{"type":"BPE",)" +
         model + R"("merges":[],"vocab":)" + Json(vocab).dump() + "}}";
}

inline Tokenizer tiny_tokenizer(const std::string& config = R"({"bos_token":"<s>","eos_token":"</s>"})",
                                const Json& tokens = family_tokens()) {
  TemporaryFolder folder;
  folder.write("tokenizer.json", tiny_tokenizer_json(tokens));
  folder.write("tokenizer_config.json", config);
  return Tokenizer::load(folder.path());
}

}  // namespace prentice::testing
