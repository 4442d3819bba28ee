#include "data/data_template.h"

#include <filesystem>
#include <string>
#include <system_error>

#include "config/configs.h"
#include "io/file.h"

namespace prentice {

namespace {

std::string data_template_text(const DataSection& section) {
  std::error_code ignored;
  const bool exists = std::filesystem::exists(section.chat_template, ignored);
  const auto embedded = exists ? std::nullopt : read_embedded(section.chat_template);
  return embedded ? *embedded : read_text_file(section.chat_template, uint64_t{1} << 20);
}

}  // namespace

std::optional<ChatTemplate> open_chat_template(const DataSection& section, const Tokenizer& tokenizer) {
  if (section.chat_template == "auto") {
    if (!tokenizer.chat_template()) return std::nullopt;
    return ChatTemplate(*tokenizer.chat_template(), tokenizer.chat_template_file().string(), tokenizer);
  }
  return ChatTemplate(data_template_text(section), section.chat_template, tokenizer);
}

void apply_data_template(const DataSection& section, Tokenizer& tokenizer) {
  if (section.chat_template != "auto")
    tokenizer.replace_chat_template(data_template_text(section), section.chat_template);
}

}  // namespace prentice
