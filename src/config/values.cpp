#include "config/values.h"

#include <limits>
#include <tuple>

namespace prentice {

void RecipeMistakes::add(const Position& position, std::string key, std::string message, std::string hint) {
  list_.push_back({.message = std::move(message),
                   .hint = std::move(hint),
                   .file = position.file,
                   .line = position.line,
                   .column = position.column,
                   .key = std::move(key)});
  has_usage_ = true;
}

void RecipeMistakes::add_thrown(const Position& position, std::string_view key, const Error& error) {
  const ExitCode code = error.code() == ExitCode::malformed ? ExitCode::usage : error.code();
  code == ExitCode::usage ? void(has_usage_ = true) : codes_.push_back(code);
  const std::string prefix = std::string(key) + ": ";
  for (Diagnostic diagnostic : error.diagnostics()) {
    if (diagnostic.message.starts_with(prefix)) diagnostic.message.erase(0, prefix.size());
    if (diagnostic.key.empty()) diagnostic.key = key;
    if (diagnostic.file.empty()) {
      diagnostic.file = position.file, diagnostic.line = position.line, diagnostic.column = position.column;
    }
    list_.push_back(std::move(diagnostic));
  }
}

void RecipeMistakes::throw_if_any() {
  if (list_.empty()) return;
  // By file and place; the command line last.
  std::stable_sort(list_.begin(), list_.end(), [](const Diagnostic& a, const Diagnostic& b) {
    const auto rank = [](const Diagnostic& d) { return std::tuple(d.line == 0, d.file, d.line, d.column); };
    return rank(a) < rank(b);
  });
  throw Error(has_usage_ ? ExitCode::usage : codes_.front(), std::move(list_));
}

void Reading::expected(const Node& node, std::string_view wanted, std::string hint) const {
  mistakes.add(node.position(), key, fmt::format("expected {}, got {}", wanted, node.described()), std::move(hint));
}

bool Reading::in_range(const Node& node, double value) const {
  const bool low = about.above_min ? value <= about.min : value < about.min;
  if (!low && value <= about.max) return true;
  expected(node, "a value" + range_text(about));
  return false;
}

bool Reading::allowed(const Node& node, const std::string& word) const {
  for (const auto& choice : about.choices) {
    if (choice.word != word) continue;
    if (choice.later)
      mistakes.add(node.position(), key, word + " is not in this version", "use " + choices_text(about.choices));
    return !choice.later;
  }
  std::vector<std::string> words;
  for (const auto& choice : about.choices) words.emplace_back(choice.word);
  const std::string near = closest_match(word, words);
  expected(node, choices_text(about.choices), near.empty() ? "" : "did you mean " + near + "?");
  return false;
}

Node unfolded(const Node& node, const std::string& key) {
  if (!node.is_scalar() || node.quoted() || !(node.text().starts_with('[') || node.text().starts_with('{')))
    return node;
  const char close = node.text().front() == '[' ? ']' : '}';
  if (node.text().back() != close) {
    fail_at(node.position(), fmt::format("{}: `{}` is never closed by `{}`", key, node.text().front(), close));
  }
  const Node tree = parse_yaml(node.text(), node.position().file + ": " + key);
  // Every part counts as written where the word was.
  const auto place = [&](auto&& self, const Node& part) -> Node {
    if (part.is_scalar()) return Node::scalar(part.text(), part.quoted(), node.position());
    if (part.is_null()) return Node::null(node.position());
    Node out = part.is_list() ? Node::list({}, node.position()) : Node::map({}, node.position());
    for (const auto& item : part.items()) out.items().push_back(self(self, item));
    for (const auto& member : part.members()) out.set(member.key, self(self, member.value), node.position());
    return out;
  };
  return place(place, tree);
}

std::string range_text(const About& about) {
  const bool low = std::isfinite(about.min), high = std::isfinite(about.max);
  const std::string min = low ? number_text(about.min) : "", max = high ? number_text(about.max) : "";
  if (low && about.above_min) return " above " + min + (high ? ", at most " + max : "");
  if (low && high) return fmt::format(" from {} to {}", min, max);
  if (low) return " of at least " + min;
  return high ? " of at most " + max : "";
}

std::string choices_text(std::span<const Choice> choices) {
  std::vector<std::string_view> words;
  for (const auto& choice : choices) {
    if (!choice.later) words.push_back(choice.word);
  }
  std::string text;
  for (size_t i = 0; i < words.size(); ++i) {
    if (i > 0) text += i + 1 == words.size() ? " or " : ", ";
    text += words[i];
  }
  return text;
}

std::string later_text(std::span<const Choice> choices) {
  std::string text;
  for (const auto& choice : choices) {
    if (choice.later) text += (text.empty() ? "" : ", ") + std::string(choice.word);
  }
  return text;
}

Json number_schema(const About& about, bool integer) {
  Json::Object schema{{"type", integer ? "integer" : "number"}};
  const auto bound = [&](double value) { return integer ? Json(static_cast<int64_t>(value)) : Json(value); };
  if (std::isfinite(about.min)) schema.emplace_back(about.above_min ? "exclusiveMinimum" : "minimum", bound(about.min));
  if (std::isfinite(about.max)) schema.emplace_back("maximum", bound(about.max));
  return schema;
}

// A scalar without quotes may look like a number to an editor; where text is wanted it is text.
Json word_schema(const About& about) {
  if (takes_other_words(about)) return Json::Object{{"type", Json::Array{"string", "number", "boolean"}}};
  Json::Array words;
  for (const auto& choice : about.choices) {
    if (!choice.later) words.emplace_back(choice.word);
  }
  return Json::Object{{"enum", std::move(words)}};
}

// Quoted, so that a text that looks like a number or true stays text; the writer drops quotes that are not needed.
Node text_node(const std::string& text) { return Node::scalar(text, true); }

bool Codec<bool>::read(const Node& node, bool& value, const Reading& reading) {
  const auto read = node.is_scalar() && !node.quoted() ? parse_bool(node.text()) : std::nullopt;
  if (read) {
    value = *read;
    return true;
  }
  std::string hint;
  if (node.is_scalar()) {
    const std::string text = node.text();
    if (text == "yes" || text == "on" || text == "True" || text == "TRUE" || text == "1" || text == "true")
      hint = "write true";
    if (text == "no" || text == "off" || text == "False" || text == "FALSE" || text == "0" || text == "false")
      hint = "write false";
  }
  reading.expected(node, "true or false", hint);
  return false;
}

namespace {

// Only digits, whatever their number, behind a sign.
bool is_integer_text(std::string_view text) {
  if (text.starts_with('-')) text.remove_prefix(1);
  return parse_number(text) && text.find_first_not_of("0123456789") == text.npos;
}

// Why a text that looks like a number is none, as a hint.
std::string number_hint(const Node& node, bool integer) {
  if (!node.is_scalar()) return "";
  const std::string& text = node.text();
  const auto fits = [&](const std::string& spelled) {
    return integer ? parse_integer(spelled).has_value() : parse_number(spelled).has_value();
  };
  if (node.quoted()) return fits(text) ? "remove the quotes" : "";
  std::string stripped;
  for (const char c : text) {
    if (c != '_' && c != ',') stripped += c;
  }
  if (stripped != text && fits(stripped)) return "write " + stripped;
  const bool negative = text.starts_with('-');
  if (const auto number = parse_number(text); integer && number) {  // 2.0 or 1e3
    constexpr double kExact = 9007199254740992.0;                   // 2^53: from here on neighbours are not integers
    const bool whole = *number == std::floor(*number) && std::abs(*number) <= kExact;
    return whole ? fmt::format("write {}", static_cast<int64_t>(*number)) : "";
  }
  const size_t digits = text.find_first_not_of('0', negative);
  if (digits == text.npos || digits == size_t{negative} || !fits(text.substr(digits))) return "";
  return std::string(negative ? "write -" : "write ") + text.substr(digits);
}

}  // namespace

bool Codec<int64_t>::read(const Node& node, int64_t& value, const Reading& reading) {
  const auto read = node.is_scalar() && !node.quoted() ? parse_integer(node.text()) : std::nullopt;
  if (!read) {
    const bool digits = node.is_scalar() && !node.quoted() && is_integer_text(node.text());
    reading.expected(
        node, digits ? "an integer that 64 bits hold" : "an integer",
        digits ? fmt::format("from {} to {}", std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max())
               : number_hint(node, true));
    return false;
  }
  if (!reading.in_range(node, static_cast<double>(*read))) return false;
  value = *read;
  return true;
}

bool Codec<double>::read(const Node& node, double& value, const Reading& reading) {
  const auto read = node.is_scalar() && !node.quoted() ? parse_number(node.text()) : std::nullopt;
  if (!read) {
    reading.expected(node, "a number", number_hint(node, false));
    return false;
  }
  if (!reading.in_range(node, *read)) return false;
  value = *read;
  return true;
}

bool Codec<std::string>::read(const Node& node, std::string& value, const Reading& reading) {
  const bool closed = !takes_other_words(reading.about);
  if (!node.is_scalar()) {
    reading.expected(node, closed ? choices_text(reading.about.choices) : "a text",
                     node.is_null() ? "write \"\" for an empty text, or remove the key" : "");
    return false;
  }
  if (closed && !reading.allowed(node, node.text())) return false;
  for (const auto& choice : reading.about.choices) {
    if (!choice.later || choice.word != node.text()) continue;
    return reading.allowed(node, node.text());
  }
  if (node.text().find('\0') != std::string::npos) {
    reading.mistakes.add(node.position(), reading.key, "a text with a NUL byte");
    return false;
  }
  value = node.text();
  return true;
}

std::string Codec<std::string>::type(const About& about) {
  const std::string words = choices_text(about.choices);
  switch (about.path) {
    case PathKind::if_path:
      return "text or path";
    case PathKind::if_adapter:
      return words + ", or a path";
    case PathKind::if_address:
      return words + ", or an artifact address";
    case PathKind::address:
      return "artifact address";
    case PathKind::or_server:
      return "path or http:// address";
    case PathKind::input:
    case PathKind::tokenizer:
    case PathKind::output:
      return "path";
    case PathKind::none:
      break;
  }
  return words.empty() ? "text" : words;
}

bool Codec<std::pair<double, double>>::read(const Node& node, std::pair<double, double>& value,
                                            const Reading& reading) {
  std::vector<double> numbers;
  const Node list = unfolded(node, reading.key);
  if (!list.is_list() || list.items().size() != 2) {
    reading.expected(list, "a list of two numbers", "for instance [0.9, 0.999]");
    return false;
  }
  if (!Codec<std::vector<double>>::read(list, numbers, reading)) return false;
  value = {numbers[0], numbers[1]};
  return true;
}

Node Codec<std::pair<double, double>>::write(const std::pair<double, double>& value) {
  return Node::list({Codec<double>::write(value.first), Codec<double>::write(value.second)});
}

Json Codec<std::pair<double, double>>::schema(const About& about) {
  return Json::Object{
      {"type", "array"}, {"items", number_schema(about, false)}, {"minItems", int64_t{2}}, {"maxItems", int64_t{2}}};
}

}  // namespace prentice
