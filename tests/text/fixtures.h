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

// A tiny byte-level BPE whose added tokens are those of the chat families; letters, digits, space and newline only.
inline std::string tiny_tokenizer_json(const std::string& extra_model = "") {
  Json::Object vocab;
  int id = 0;
  for (int c = 33; c < 127; ++c) vocab.emplace_back(std::string(1, static_cast<char>(c)), id++);
  vocab.emplace_back("\u0120", id++);  // space
  vocab.emplace_back("\u010a", id++);  // newline
  Json::Array added;
  for (const char* token : {"<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|end|>", "<|user|>", "<|assistant|>",
                            "<|eot_id|>", "<end_of_turn>", "<start_of_turn>", "[INST]", "[/INST]"}) {
    added.push_back(Json::Object{{"id", id++},
                                 {"content", token},
                                 {"single_word", false},
                                 {"lstrip", false},
                                 {"rstrip", false},
                                 {"normalized", false},
                                 {"special", true}});
  }
  for (const char* token : {"<think>", "</think>", "<tool_call>", "</tool_call>"}) {
    added.push_back(Json::Object{{"id", id++},
                                 {"content", token},
                                 {"single_word", false},
                                 {"lstrip", false},
                                 {"rstrip", false},
                                 {"normalized", false},
                                 {"special", false}});
  }
  return R"({"version":"1.0","added_tokens":)" + Json(added).dump() +
         R"(,"normalizer":null,"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true},)"
         R"("post_processor":null,"decoder":{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true,"use_regex":true},"model":{"type":"BPE",)" +
         extra_model + R"("merges":[],"vocab":)" + Json(vocab).dump() + "}}";
}

inline Tokenizer tiny_tokenizer(const std::string& config = R"({"bos_token":"<s>","eos_token":"</s>"})") {
  TemporaryFolder folder;
  folder.write("tokenizer.json", tiny_tokenizer_json());
  folder.write("tokenizer_config.json", config);
  return Tokenizer::load(folder.path());
}

}  // namespace prentice::testing
