// What serve.md warns of, whatever it serves: block quotes of Markdown.
#pragma once

#include <string>

#include "serving/serving.h"

namespace prentice {

// ServingInfo::warnings.
std::string warning_quotes(const ServingInfo&);
// Of a tokenizer that transformers 5 builds anew, else "". `these` follows "it gives other token ids than".
std::string tokenizer_quote(const ServingInfo&, const std::string& these);

}  // namespace prentice
