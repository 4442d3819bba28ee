#include "cli/terminal.h"

#include <fmt/format.h>

#include <cstdio>

#include "core/host.h"
#include "core/utf8.h"

namespace prentice {

namespace {

const char* code_of(Style style) {
  switch (style) {
    case Style::error:
      return "\033[1;31m";
    case Style::hint:
      return "\033[36m";
    case Style::good:
      return "\033[32m";
  }
  return "";
}

}  // namespace

std::string styled(std::string_view text, Style style, int descriptor) {
  if (!has_colour(descriptor)) return std::string(text);
  return fmt::format("{}{}\033[0m", code_of(style), text);
}

std::string printable(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const auto byte = static_cast<unsigned char>(text[at]);
    const size_t length = utf8_character_size(text, at);
    const bool control =
        byte < 0x20 || byte == 0x7F || (byte == 0xC2 && length == 2 && static_cast<unsigned char>(text[at + 1]) < 0xA0);
    if (length == 0 || control) {
      out += fmt::format("\\x{:02x}", byte);
      at += 1;
    } else {
      out += text.substr(at, length);
      at += length;
    }
  }
  return out;
}

void print_result(std::string_view text) { std::fwrite(text.data(), 1, text.size(), stdout); }

}  // namespace prentice
