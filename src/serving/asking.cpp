#include "serving/asking.h"

#include <fmt/format.h>

namespace prentice {

std::string asking_words(const ModelSpec& spec, const Tokenizer& tokenizer, const std::filesystem::path& address) {
  const std::string model = "model.path=" + address.string();
  if (spec.labels > 0) return fmt::format("eval {} eval.tasks=[preference] data.eval=PAIRS.jsonl", model);
  return fmt::format("generate {} {}", model, tokenizer.chat_template() ? "--chat" : "generate.prompt=\"...\"");
}

}  // namespace prentice
