#include "core/shell_word.h"
#include "io/json.h"
#include "serving/serving.h"

namespace prentice {

std::string shell_word_of_line(std::string text) {
  for (char& c : text) {
    if (c == '\n' || c == '\r') c = ' ';
  }
  return shell_word(text);
}

std::string markdown_text(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '\n' || c == '\r') {
      escaped += ' ';
    } else if (c == '<') {
      escaped += "&lt;";
    } else if (c == '&') {
      escaped += "&amp;";
    } else {
      if (std::string_view("\\`*_[]#|!").find(c) != std::string_view::npos) escaped += '\\';
      escaped += c;
    }
  }
  return escaped;
}

// YAML's double-quoted strings are a superset of JSON's.
std::string yaml_string(const std::string& text) { return Json(text).dump(); }

}  // namespace prentice
