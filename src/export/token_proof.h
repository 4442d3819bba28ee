// Whether an exported file's own tokenizer and template make the ids and texts that the model was trained on.
#pragma once

#include <string>
#include <vector>

#include "export/comparison.h"
#include "text/tokenizer.h"

namespace prentice {

struct TextRules {
  bool as_gguf = false;            // the artifact's tokenizer is llama.cpp's, which does not compose accents
  std::vector<std::string> texts;  // rows of the user's, beside the corpus
  int threads = 1;
};

// "token ids", "special tokens in text", "template", "rendered conversations".
std::vector<Check> text_checks(const Tokenizer& model, const Tokenizer& artifact, const TextRules&);

}  // namespace prentice
