// Whether an exported file's own tokenizer and template make the ids and texts that the model was trained on.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "proof/check.h"
#include "text/tokenizer.h"

namespace prentice {

struct TextRules {
  bool as_gguf = false;            // the artifact's tokenizer is llama.cpp's, which does not compose accents
  std::vector<std::string> texts;  // rows of the user's, beside the corpus
  int threads = 1;
};

// The ids of texts as prompts, in whatever program.
using EncodeTexts = std::function<std::vector<std::vector<int32_t>>(const std::vector<std::string>&)>;

// "token ids" and, where the model has added tokens, "special tokens in text".
std::vector<Check> id_checks(const Tokenizer& model, const EncodeTexts& artifact, const TextRules&);
// Those, "chat template" and "rendered conversations", of the artifact's own tokenizer.
std::vector<Check> text_checks(const Tokenizer& model, const Tokenizer& artifact, const TextRules&);

}  // namespace prentice
