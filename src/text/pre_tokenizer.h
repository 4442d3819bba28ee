// The names llama.cpp gives to the regular expressions that split text before byte-level BPE, and those expressions.
#pragma once

#include <array>
#include <string>
#include <string_view>

#include "text/tokenizer.h"

namespace prentice {

extern const std::string_view kGpt2Pattern, kLlama3Pattern, kQwen2Pattern, kGpt4oPattern;

// A value of tokenizer.ggml.pre and what llama.cpp does where it stands.
struct GgufPreTokenizer {
  std::string_view name;
  std::array<std::string_view, 4> patterns;  // each splits what those before it left whole; "" = no more
  bool ignore_merges = false;                // a word that is a token is that token
  bool add_bos = false;                      // where the file does not say
  bool exact = false;                        // the name an exporter gives to a tokenizer of this one pattern
};
const GgufPreTokenizer* find_gguf_pre_tokenizer(std::string_view name);  // nullptr: unknown here
std::string gguf_pre_tokenizer_names();                                  // for messages

// The value of tokenizer.ggml.pre: by the hash of the ids of llama.cpp's check text, else by the exact pattern, else
// "" (an exporter refuses: llama.cpp would split words in another way). SentencePiece-like tokenizers: "default".
std::string gguf_pre_tokenizer(const Tokenizer& tokenizer);

// sha256 of Python's str() of the ids of the check text.
std::string check_text_hash(const Tokenizer& tokenizer);

extern const std::string_view kCheckText;  // 350 code points, 431 bytes

}  // namespace prentice
