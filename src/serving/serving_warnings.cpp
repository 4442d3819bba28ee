#include "serving/serving_warnings.h"

namespace prentice {

std::string warning_quotes(const ServingInfo& info) {
  std::string text;
  for (const auto& warning : info.warnings) text += "> " + markdown_text(warning) + "\n\n";
  return text;
}

std::string tokenizer_quote(const ServingInfo& info, const std::string& these) {
  if (!info.spaces_after_added) return "";
  return "> `AutoTokenizer` of transformers 5 builds this SentencePiece tokenizer anew, with a rule of its own for the "
         "space that begins a text: where text with a leading space stands behind an added token (`<s> text`), it "
         "gives other token ids than " +
         these + "\n\n";
}

}  // namespace prentice
