// Node -> YAML text. Own writer: the values are few and must come out the same on every machine.
#include <algorithm>
#include <array>
#include <cctype>

#include "config/node.h"

namespace prentice {

namespace {

// Words that some YAML reader takes for something else than text.
bool is_other_type(std::string_view text) {
  std::string lower(text);
  std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return std::tolower(c); });
  static constexpr std::array kWords = {"true", "false", "yes", "no", "on", "off", "y", "n", "null"};
  return std::find(kWords.begin(), kWords.end(), lower) != kWords.end();
}

bool is_plain_text(std::string_view text) {
  if (text.empty() || is_other_type(text)) return false;
  const auto plain = [](unsigned char c) {
    return std::isalnum(c) || c == '_' || c == '/' || c == '.' || c == '-' || c == '+' || c == '@' || c == ' ' ||
           c == '(' || c == ')' || c == '=';
  };
  const auto first = static_cast<unsigned char>(text.front());
  const bool starts_well =
      std::isalpha(first) || first == '_' || first == '/' || text.substr(0, 2) == "./" || text.substr(0, 3) == "../";
  return starts_well && text.back() != ' ' && std::all_of(text.begin(), text.end(), plain);
}

std::string in_quotes(std::string_view text) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\', out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (byte < 0x20 || byte == 0x7F) {
      out += "\\x", out += kHex[byte >> 4], out += kHex[byte & 15];
    } else {
      out += c;
    }
  }
  return out + '"';
}

std::string scalar_text(const Node& node) {
  if (node.is_null()) return "null";
  // A value that was not quoted and reads as itself (a number, true) stays bare.
  if (!node.quoted() && (parse_number(node.text()) || parse_bool(node.text()))) return node.text();
  return is_plain_text(node.text()) ? node.text() : in_quotes(node.text());
}

std::string key_text(const std::string& key) { return is_plain_text(key) ? key : in_quotes(key); }

bool is_nested(const Node& node) {
  if (node.is_list()) {
    return std::any_of(node.items().begin(), node.items().end(), [](const Node& item) { return item.is_map(); });
  }
  return node.is_map();
}

void write_block(const Node& node, int indent, std::string& out) {
  for (const auto& member : node.members()) {
    out += std::string(indent, ' ') + key_text(member.key) + ":";
    const Node& value = member.value;
    if (value.is_map() && !value.members().empty() && indent == 0) {
      out += '\n';
      write_block(value, indent + 2, out);
    } else if (value.is_list() && is_nested(value)) {
      out += '\n';
      for (const auto& item : value.items()) out += std::string(indent + 2, ' ') + "- " + to_flow(item) + '\n';
    } else {
      out += ' ' + to_flow(value) + '\n';
    }
  }
}

}  // namespace

std::string to_flow(const Node& node) {
  if (node.is_list()) {
    std::string out = "[";
    for (const auto& item : node.items()) out += (out.size() > 1 ? ", " : "") + to_flow(item);
    return out + "]";
  }
  if (node.is_map()) {
    std::string out = "{";
    for (const auto& member : node.members()) {
      out += (out.size() > 1 ? ", " : "") + key_text(member.key) + ": " + to_flow(member.value);
    }
    return out + "}";
  }
  return scalar_text(node);
}

std::string to_yaml(const Node& node) {
  if (!node.is_map()) return to_flow(node) + '\n';
  std::string out;
  write_block(node, 0, out);
  return out;
}

}  // namespace prentice
