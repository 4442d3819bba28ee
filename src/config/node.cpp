#include "config/node.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>

namespace prentice {

namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// [-] digits [. digits] [e [+-] digits], with a digit on one side of the point and no leading zero.
bool is_number_text(std::string_view text) {
  size_t at = 0;
  const auto digits = [&] {
    const size_t start = at;
    while (at < text.size() && is_digit(text[at])) ++at;
    return at - start;
  };
  if (at < text.size() && text[at] == '-') ++at;
  const size_t first = at;
  const size_t whole = digits();
  if (whole > 1 && text[first] == '0') return false;
  size_t fraction = 0;
  if (at < text.size() && text[at] == '.') ++at, fraction = digits();
  if (whole + fraction == 0) return false;
  if (at < text.size() && (text[at] == 'e' || text[at] == 'E')) {
    ++at;
    if (at < text.size() && (text[at] == '+' || text[at] == '-')) ++at;
    if (digits() == 0) return false;
  }
  return at == text.size();
}

}  // namespace

Node Node::scalar(std::string text, bool quoted, Position position) {
  Node node;
  node.kind_ = Kind::scalar;
  node.text_ = std::move(text);
  node.quoted_ = quoted;
  node.position_ = std::move(position);
  return node;
}

Node Node::list(std::vector<Node> items, Position position) {
  Node node;
  node.kind_ = Kind::list;
  node.items_ = std::move(items);
  node.position_ = std::move(position);
  return node;
}

Node Node::map(std::vector<Member> members, Position position) {
  Node node;
  node.kind_ = Kind::map;
  node.members_ = std::move(members);
  node.position_ = std::move(position);
  return node;
}

Node Node::null(Position position) {
  Node node;
  node.position_ = std::move(position);
  return node;
}

const Node* Node::find(std::string_view key) const {
  for (const auto& member : members_) {
    if (member.key == key) return &member.value;
  }
  return nullptr;
}

Node* Node::find(std::string_view key) { return const_cast<Node*>(std::as_const(*this).find(key)); }

const Node& Node::at(std::string_view key) const {
  if (const Node* found = find(key)) return *found;
  fail_at(position_, fmt::format("{} is missing", key));
}

Node& Node::set(std::string key, Node value, Position key_position) {
  kind_ = Kind::map;
  for (auto& member : members_) {
    if (member.key != key) continue;
    member.position = std::move(key_position);
    return member.value = std::move(value);
  }
  members_.push_back({std::move(key), std::move(key_position), std::move(value)});
  return members_.back().value;
}

const std::string& Node::as_string() const {
  if (!is_scalar()) fail_at(position_, "expected text, got " + described());
  return text_;
}

bool Node::as_bool() const {
  const auto value = is_scalar() && !quoted_ ? parse_bool(text_) : std::nullopt;
  if (!value) fail_at(position_, "expected true or false, got " + described());
  return *value;
}

double Node::as_number() const {
  const auto value = is_scalar() && !quoted_ ? parse_number(text_) : std::nullopt;
  if (!value) fail_at(position_, "expected a number, got " + described());
  return *value;
}

std::vector<std::string> Node::as_strings() const {
  if (is_scalar()) return {text_};
  if (!is_list()) fail_at(position_, "expected a list of texts, got " + described());
  std::vector<std::string> texts;
  for (const auto& item : items_) texts.push_back(item.as_string());
  return texts;
}

std::string Node::described() const {
  switch (kind_) {
    case Kind::null:
      return "nothing";
    case Kind::list:
      return fmt::format("a list of {}", items_.size());
    case Kind::map:
      return "a map";
    case Kind::scalar:
      break;
  }
  const std::string shown = text_.size() > 60 ? text_.substr(0, 57) + "..." : text_;
  if (quoted_ || text_.empty()) return "the text \"" + shown + "\"";
  return shown;
}

void fail_at(const Position& position, std::string message, std::string hint) {
  throw Error(ExitCode::usage, {{.message = std::move(message),
                                 .hint = std::move(hint),
                                 .file = position.file,
                                 .line = position.line,
                                 .column = position.column}});
}

std::optional<bool> parse_bool(std::string_view text) {
  if (text == "true") return true;
  if (text == "false") return false;
  return std::nullopt;
}

std::optional<int64_t> parse_integer(std::string_view text) {
  if (!is_number_text(text) || text.find_first_of(".eE") != text.npos) return std::nullopt;
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<double> parse_number(std::string_view text) {
  if (!is_number_text(text)) return std::nullopt;
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value)) return std::nullopt;
  return value;
}

std::string number_text(double value) {
  std::string text = fmt::format("{}", value);
  if (value != 0 && std::abs(value) < 1e-3) {  // 2e-4 reads better than 0.0002
    char buffer[32];
    text.assign(buffer, std::to_chars(buffer, std::end(buffer), value, std::chars_format::scientific).ptr);
  }
  const size_t e = text.find('e');
  if (e == text.npos) return text;
  const size_t zeros = e + 2;  // after the exponent's sign
  while (zeros + 1 < text.size() && text[zeros] == '0') text.erase(zeros, 1);
  if (text[e + 1] == '+') text.erase(e + 1, 1);
  return text;
}

}  // namespace prentice
