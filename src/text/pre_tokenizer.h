// The names llama.cpp gives to the regular expressions that split text before byte-level BPE, and those expressions.
#pragma once

#include <string>
#include <string_view>

#include "text/tokenizer.h"

namespace prentice {

extern const std::string_view kGpt2Pattern, kLlama3Pattern, kQwen2Pattern, kGpt4oPattern;

// The value of tokenizer.ggml.pre: by the hash of the ids of llama.cpp's check text, else by the exact pattern, else
// "" (an exporter refuses: llama.cpp would split words in another way). SentencePiece-like tokenizers: "default".
std::string gguf_pre_tokenizer(const Tokenizer& tokenizer);

// sha256 of Python's str() of the ids of the check text.
std::string check_text_hash(const Tokenizer& tokenizer);

extern const std::string_view kCheckText;  // 350 code points, 431 bytes

}  // namespace prentice
