// What a serving team gets beside the files: exact commands, a Modelfile, a self-test and checksums.
// Everything written here is quoted for where it goes: names come from recipes and files.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "io/json.h"
#include "proof/serving_tolerance.h"

namespace prentice {

struct ServingInfo {
  std::string name;                     // served model name
  std::string base_model;               // as the user named it; "" when trained from scratch
  std::string base_gguf;                // the GGUF file that the adapter was trained on; empty = it was a folder
  bool peft = false;                    // adapter/ stands beside
  bool merged = false;                  // merged/ stands beside
  std::vector<std::string> gguf_files;  // names below gguf/
  bool gguf_adapter = false;            // gguf/adapter.gguf stands beside
  int64_t rank = 0;                     // largest LoRA rank
  bool has_chat_template = false;
  bool spaces_after_added = false;    // a tokenizer that transformers 5 rebuilds with other rules behind added tokens
  bool scores = false;                // a reward model: one score an answer, no words
  std::optional<int32_t> pad_id;      // of a reward model: what its scores look past
  bool trained_on_raw_text = false;   // prompts and completions without the template
  int64_t max_length = 0;             // longest context it was trained or configured for; 0 = unknown
  int64_t gguf_length = 0;            // the same for its GGUF files
  std::vector<std::string> warnings;  // one sentence each
  bool self_test = false;             // serve/selftest.json stands beside
};

// serve/serve.md: commands for vLLM, llama.cpp and Ollama, run from the folder above serve/; of a reward model, how
// transformers and peft read a score.
std::string serve_markdown(const ServingInfo&);
// serve/Modelfile for the first GGUF file, or for the GGUF adapter on the GGUF file that it was trained on; "" where
// there is neither. No TEMPLATE: Ollama's language is not Jinja, and it reads the file's own.
std::string modelfile(const ServingInfo&);

// One prompt and what the trained model answers: the receiver compares.
struct SelfTestCase {
  std::optional<std::string> prompt;  // a text that is cut into prompt_ids; nullopt where none is known to be
  bool add_special = true;            // the tokenizer puts in front of it what it puts in front of texts (BOS)
  std::vector<int32_t> prompt_ids;
  std::vector<int32_t> greedy_ids;                        // what greedy decoding appends
  std::vector<double> greedy_margins;                     // by each of them: log-probability above the second likeliest
  std::vector<std::pair<int32_t, double>> top_log_probs;  // after the prompt: the five most likely ids
};
// A conversation in which the assistant is asked for its turn, in the model's template.
struct SelfTestChat {
  Json messages;
  std::vector<int32_t> ids;
};
struct SelfTest {
  std::vector<SelfTestCase> cases;  // empty: no model was at hand to answer
  std::vector<SelfTestChat> chats;  // empty: there is no template, or it writes the date
  std::vector<int32_t> stop_ids;
};
// Tokens of prompts of our own and their answers, about.
inline constexpr int64_t kSelfTestTokens = 256;
// serve/selftest.json, and the program that asks a server for what it says, serve/selftest.py: configs/serve.
std::string selftest_json(const std::string& name, const SelfTest&, const std::vector<Tolerance>&);
std::string selftest_program();

// Model card of adapter/ or merged/ with the front matter the hub reads.
struct CardInfo {
  std::string name, base_model;
  bool is_adapter = false;
  bool scores = false;                                        // a reward model
  std::vector<std::pair<std::string, std::string>> training;  // "learning rate" -> "0.0002"
  std::vector<std::pair<std::string, std::string>> results;   // "accuracy" -> "0.935 (200 examples)"
  std::vector<std::string> licences;                          // names of the base's files, which lie beside the card
};
std::string model_card(const CardInfo&);

using FileHashes = std::map<std::string, std::string>;  // name below a folder -> SHA-256

// SHA256SUMS of `folder`, as sha256sum -c reads it: every file below the given names, sorted. Links are not followed.
// Those in `known` are not read again.
std::string checksums(const std::filesystem::path& folder, const std::vector<std::string>& names,
                      const FileHashes& known = {});

// Quoting: one shell word, line breaks being spaces; text that Markdown shows as it is; a YAML double-quoted string.
std::string shell_word_of_line(std::string text);
std::string markdown_text(const std::string& text);
std::string yaml_string(const std::string& text);

}  // namespace prentice
