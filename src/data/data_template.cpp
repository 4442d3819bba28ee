#include "data/data_template.h"

#include <charconv>
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

Json argument_value(const std::string& text) {
  if (text == "true") return true;
  if (text == "false") return false;
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error == std::errc() && end == text.data() + text.size()) return number;
  return text;
}

}  // namespace

Json::Object template_arguments(const DataSection& section) {
  Json::Object arguments;
  for (const auto& [name, value] : section.template_args) arguments.emplace_back(name, argument_value(value));
  return arguments;
}

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
