// Folders that hold vocab.json and merges.txt instead of a tokenizer.json.
#pragma once

#include <string>

#include "text/special_tokens.h"

namespace prentice {

// The text of the tokenizer.json that transformers would build for the folder's tokenizer_class (GPT-2's or Qwen2's
// byte-level BPE). Errors: `model` for another class or a malformed file.
std::string tokenizer_json_of_vocab_and_merges(const TokenizerFiles& files);

}  // namespace prentice
