// A parsed YAML value with the place it came from: what recipes and configs are before they are bound to structs.
// Own type because the YAML library keeps no key positions and converts scalars by guessing; here a scalar is its text,
// and the type that wants it parses it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/error.h"

namespace prentice {

inline constexpr std::string_view kCommandLine = "command line";

// Where a value was written; line and column are 1-based, line 0 is a word of the command line (or made by code).
struct Position {
  std::string file;
  int line = 0;
  int column = 0;
};

class Node {
 public:
  enum class Kind { null, scalar, list, map };
  struct Member;

  Node() = default;
  static Node scalar(std::string text, bool quoted = false, Position position = {});
  static Node list(std::vector<Node> items = {}, Position position = {});
  static Node map(std::vector<Member> members = {}, Position position = {});
  static Node null(Position position);

  Kind kind() const { return kind_; }
  bool is_null() const { return kind_ == Kind::null; }
  bool is_scalar() const { return kind_ == Kind::scalar; }
  bool is_list() const { return kind_ == Kind::list; }
  bool is_map() const { return kind_ == Kind::map; }
  const Position& position() const { return position_; }
  const std::string& text() const { return text_; }  // of a scalar, unescaped
  bool quoted() const { return quoted_; }            // in quotes or a block scalar: surely text

  const std::vector<Node>& items() const { return items_; }
  std::vector<Node>& items() { return items_; }
  const std::vector<Member>& members() const { return members_; }  // in file order
  std::vector<Member>& members() { return members_; }
  const Node* find(std::string_view key) const;  // nullptr when absent or when this is no map
  Node* find(std::string_view key);
  const Node& at(std::string_view key) const;  // errors: `usage` "KEY is missing", with the place
  // Replaces or appends; null becomes a map. `key_position` is kept for a new key and for a replaced one.
  Node& set(std::string key, Node value, Position key_position = {});

  // Typed access; errors: `usage` "expected WANTED, got GOT", with the place.
  const std::string& as_string() const;
  bool as_bool() const;                         // true or false
  double as_number() const;                     // finite; integers too
  std::vector<std::string> as_strings() const;  // a list of scalars, or one scalar

  // What stands here, for messages: "the list", "the text \"16\"", "nothing", "abc".
  std::string described() const;

 private:
  Kind kind_ = Kind::null;
  bool quoted_ = false;
  std::string text_;
  Position position_;
  std::vector<Node> items_;
  std::vector<Member> members_;
};

struct Node::Member {
  std::string key;
  Position position;
  Node value;
};

[[noreturn]] void fail_at(const Position& position, std::string message, std::string hint = "");

// Strict readings of a scalar's text; nullopt when it is not exactly that.
std::optional<bool> parse_bool(std::string_view text);
std::optional<int64_t> parse_integer(std::string_view text);
std::optional<double> parse_number(std::string_view text);

// The shortest text that reads back to the same double ("2e-05" is written 2e-5).
std::string number_text(double value);

// One YAML document. `file` is for messages. Refuses anchors, aliases, tags, merge keys, duplicate keys, a second
// document, nesting above 32, more than 20,000 values and more than 1 MiB. Errors: `usage`, with the place.
Node parse_yaml(std::string_view text, const std::string& file);
// Errors: `usage` when the file is missing or is no plain file.
Node parse_yaml_file(const std::filesystem::path& path);

// Block-style YAML that parse_yaml reads back to the same values; short lists and maps below a section stay on one
// line.
std::string to_yaml(const Node& node);
// The same value on one line, as a `section.key=value` word takes it.
std::string to_flow(const Node& node);

}  // namespace prentice
