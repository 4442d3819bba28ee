// The tokenizer that a GGUF file's metadata describe, with the ids that llama.cpp gives: what export/gguf_metadata
// writes, read back, and what other writers make of it.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "io/gguf.h"
#include "text/backend.h"

namespace prentice {

struct GgufVocabulary {
  std::unique_ptr<TokenizerBackend> backend;
  OwnSpecials specials;
  std::optional<std::string> chat_template;
};

// Errors: `model`, naming the file, for metadata that are missing, contradict themselves or describe a tokenizer that
// is not supported.
GgufVocabulary read_gguf_vocabulary(const std::filesystem::path& file);

// tokenizer.ggml.* of a file, checked: lists of one length, ids in range, every token a text of its own.
struct GgufTokens {
  std::string model, pre;
  std::vector<std::string> tokens;
  std::vector<float> scores;  // of the llama kind
  std::vector<TokenType> types;
  std::vector<std::string> merges;  // of the gpt2 kind
  OwnSpecials specials;
  bool add_bos = false, add_eos = false, add_space_prefix = true;
  std::vector<AddedToken> added;  // what is found in the text before anything else is split
};
GgufTokens read_gguf_tokens(const GgufReader&);

// The tokenizer.json that stands for byte-level BPE. Errors: `malformed` for a pre-tokenizer that is not known here.
std::string tokenizer_json_of(const GgufTokens&);
// The bytes of the tokenizer.model that stands for the SentencePiece kind.
std::string sentence_piece_model_of(const GgufTokens&);

}  // namespace prentice
