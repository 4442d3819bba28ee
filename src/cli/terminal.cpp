#include "cli/terminal.h"

#include <fmt/format.h>

#include <cstdio>

#include "core/host.h"

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

void print_result(std::string_view text) { std::fwrite(text.data(), 1, text.size(), stdout); }

}  // namespace prentice
