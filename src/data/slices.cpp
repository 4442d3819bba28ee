#include "data/slices.h"

namespace prentice {

namespace {

bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) {}

  size_t at() const { return at_; }
  // Nothing yet, from here on.
  Slice here() const { return {at_, at_, line_, line_begin_}; }
  void move_to(size_t at) {
    while (at_ < at) step();
  }
  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  bool take(char wanted) {
    skip_space();
    if (peek() != wanted) return false;
    ++at_;
    return true;
  }
  void skip_space() {
    while (at_ < text_.size() && is_space(text_[at_])) step();
  }

  std::optional<Slice> string() {
    skip_space();
    const Slice slice = here();
    return peek() == '"' && skip_string() ? std::optional(up_to_here(slice)) : std::nullopt;
  }

  // Any value: up to its last byte, brackets balanced.
  std::optional<Slice> value() {
    skip_space();
    const Slice slice = here();
    int64_t depth = 0;
    do {
      skip_space();
      const char c = peek();
      if (at_ >= text_.size()) return std::nullopt;
      if (c == '"') {
        if (!skip_string()) return std::nullopt;
      } else if (c == '{' || c == '[') {
        ++depth, ++at_;
      } else if (c == '}' || c == ']') {
        if (--depth < 0) return std::nullopt;
        ++at_;
      } else if (depth > 0 && (c == ',' || c == ':')) {
        ++at_;
      } else if (!skip_word()) {
        return std::nullopt;
      }
    } while (depth > 0);
    return up_to_here(slice);
  }

  std::optional<std::vector<Slice>> array() {
    std::vector<Slice> elements;
    if (!take('[')) return std::nullopt;
    if (take(']')) return elements;
    do {
      const auto element = value();
      if (!element) return std::nullopt;
      elements.push_back(*element);
    } while (take(','));
    return take(']') ? std::optional(std::move(elements)) : std::nullopt;
  }

 private:
  void step() {
    if (text_[at_++] != '\n') return;
    ++line_;
    line_begin_ = at_;
  }
  Slice up_to_here(Slice slice) const {
    slice.end = at_;
    return slice;
  }
  bool skip_string() {
    for (++at_; at_ < text_.size(); ++at_) {
      if (text_[at_] == '\\') {
        ++at_;
      } else if (text_[at_] == '"') {
        ++at_;
        return true;
      } else if (text_[at_] == '\n') {
        return false;
      }
    }
    return false;
  }
  bool skip_word() {
    const size_t begin = at_;
    while (at_ < text_.size() && !is_space(text_[at_]) &&
           std::string_view("{}[],:\"").find(text_[at_]) == std::string_view::npos)
      ++at_;
    return at_ > begin;
  }

  std::string_view text_;
  size_t at_ = 0;
  int64_t line_ = 1;
  size_t line_begin_ = 0;
};

// A line break, the white space before the character at `at` and the "{" that a record begins with; empty where more
// stands before it.
std::string line_begin(std::string_view text, size_t at) {
  const size_t line_break = text.substr(0, at).rfind('\n');
  if (line_break == std::string_view::npos) return "";
  const std::string begin(text.substr(line_break, at - line_break));
  return begin.find_first_not_of(" \t\r\n") == std::string::npos ? begin + "{" : "";
}

}  // namespace

std::vector<Slice> line_slices(std::string_view text) {
  std::vector<Slice> slices;
  int64_t line = 1;
  for (size_t begin = 0; begin < text.size(); ++line) {
    size_t end = text.find('\n', begin);
    if (end == std::string_view::npos) end = text.size();
    if (text.substr(begin, end - begin).find_first_not_of(" \t\r") != std::string_view::npos) {
      slices.push_back({begin, end, line, begin});
    }
    begin = end + 1;
  }
  return slices;
}

std::optional<JsonLayout> json_layout(std::string_view text) {
  Scanner scanner(text);
  JsonLayout layout;
  scanner.skip_space();
  if (scanner.peek() == '[') {
    auto elements = scanner.array();
    if (!elements) return std::nullopt;
    layout.arrays.emplace_back("", std::move(*elements));
    layout.end = scanner.at();
    return layout;
  }
  if (!scanner.take('{')) return std::nullopt;
  layout.is_object = true;
  if (!scanner.take('}')) {
    do {
      const auto key = scanner.string();
      if (!key || !scanner.take(':')) return std::nullopt;
      scanner.skip_space();
      if (scanner.peek() == '[') {
        auto elements = scanner.array();
        if (!elements) return std::nullopt;
        layout.arrays.emplace_back(text.substr(key->begin + 1, key->end - key->begin - 2), std::move(*elements));
      } else {
        const auto value = scanner.value();
        if (!value) return std::nullopt;
        layout.others.push_back(*value);
      }
    } while (scanner.take(','));
    if (!scanner.take('}')) return std::nullopt;
  }
  layout.end = scanner.at();
  return layout;
}

BrokenArray cut_broken_array(std::string_view text) {
  constexpr size_t kMostLost = 20;  // each may have cost a look at the whole rest of the text
  size_t lost_elements = 0;
  BrokenArray array;
  Scanner scanner(text);
  if (!scanner.take('[')) return array;
  scanner.skip_space();
  const std::string margin = scanner.at() < text.size() ? line_begin(text, scanner.at()) : "";
  for (scanner.skip_space(); scanner.at() < text.size() && scanner.peek() != ']'; scanner.skip_space()) {
    const Slice begin = scanner.here();
    const Scanner before = scanner;
    const auto element = scanner.value();
    if (element) {
      const bool separated = scanner.take(',');
      if (!separated && scanner.peek() == '{') array.unseparated.push_back(scanner.here());
      if (separated || scanner.peek() == '{' || scanner.peek() == ']') {
        array.elements.push_back(*element);
        continue;
      }
    }
    const size_t next = margin.empty() ? text.npos : text.find(margin, begin.begin);
    const auto lost = text.substr(begin.begin, next == text.npos ? text.npos : next - begin.begin);
    const size_t size = lost.substr(0, lost.find_last_not_of(" \t\r\n") + 1).size();
    array.elements.push_back(begin);
    array.elements.back().end = begin.begin + size - (lost[size - 1] == ',');
    if (++lost_elements == kMostLost) break;
    scanner = before;
    scanner.move_to(next == text.npos ? text.size() : next + 1);
  }
  return array;
}

}  // namespace prentice
