// How a value of each type is read from a Node, written to one, described and put into the JSON schema. One Codec per
// type that a section may hold; config/bind.h walks the fields with them.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "config/fields.h"
#include "config/node.h"
#include "io/json.h"

namespace prentice {

class RecipeMistakes {
 public:
  void add(const Position&, std::string key, std::string message, std::string hint = "");
  // Runs `body`; what it throws becomes mistakes of `key` at `position`. True when there was none.
  template <class Body>
  bool gather(const Position& position, std::string_view key, Body&& body) {
    try {
      std::forward<Body>(body)();
      return true;
    } catch (const Error& error) {
      add_thrown(position, key, error);
      return false;
    }
  }
  bool empty() const { return list_.empty(); }
  const std::vector<Diagnostic>& list() const { return list_; }  // as they were found
  // Errors: all of them, in file order; the code is `usage`, or that of the first where none is about the recipe's own
  // words (a model file that is corrupt).
  void throw_if_any();

 private:
  void add_thrown(const Position& position, std::string_view key, const Error& error);

  std::vector<Diagnostic> list_;
  std::vector<ExitCode> codes_;  // other than `usage`, of errors that were gathered
  bool has_usage_ = false;
};

// What a codec needs to report a mistake.
struct Reading {
  RecipeMistakes& mistakes;
  std::string key;  // "section.key", or below
  const About& about;

  void expected(const Node& node, std::string_view wanted, std::string hint = "") const;
  bool in_range(const Node& node, double value) const;            // reports when it is not
  bool allowed(const Node& node, const std::string& word) const;  // by about.choices; reports when it is not
};

// A word of the command line that spells a list or map ("[a, b]", "{a: 1}") becomes one; anything else stays as it is.
// Such a scalar is never unquoted in a file. Errors: `usage` when the spelling is broken.
Node unfolded(const Node& node, const std::string& key);

std::string range_text(const About&);               // ", 1 to 10" or ""
std::string choices_text(std::span<const Choice>);  // "a, b or c", what is built
std::string later_text(std::span<const Choice>);    // "d, e", what is not
Json number_schema(const About&, bool integer);
Json word_schema(const About&);
Node text_node(const std::string& text);

template <class T>
struct Codec;  // read: false after reporting

template <>
struct Codec<bool> {
  static bool read(const Node&, bool&, const Reading&);
  static Node write(bool value) { return Node::scalar(value ? "true" : "false"); }
  static std::string type(const About&) { return "true or false"; }
  static Json schema(const About&) { return Json::Object{{"type", "boolean"}}; }
};

template <>
struct Codec<int64_t> {
  static bool read(const Node&, int64_t&, const Reading&);
  static Node write(int64_t value) { return Node::scalar(std::to_string(value)); }
  static std::string type(const About& about) { return "integer" + range_text(about); }
  static Json schema(const About& about) { return number_schema(about, true); }
};

template <>
struct Codec<double> {
  static bool read(const Node&, double&, const Reading&);
  static Node write(double value) { return Node::scalar(number_text(value)); }
  static std::string type(const About& about) { return "number" + range_text(about); }
  static Json schema(const About& about) { return number_schema(about, false); }
};

template <>
struct Codec<std::string> {
  static bool read(const Node&, std::string&, const Reading&);
  static Node write(const std::string& value) { return text_node(value); }
  static std::string type(const About& about);
  static Json schema(const About& about) { return word_schema(about); }
};

template <>
struct Codec<std::pair<double, double>> {
  static bool read(const Node&, std::pair<double, double>&, const Reading&);
  static Node write(const std::pair<double, double>& value);
  static std::string type(const About& about) { return "list of two numbers" + range_text(about); }
  static Json schema(const About& about);
};

template <>
struct Codec<WeightedFile> {
  static bool read(const Node&, WeightedFile&, const Reading&);
  static Node write(const WeightedFile& value);
  static std::string type(const About&) { return "file"; }
  static Json schema(const About& about);
};

template <>
struct Codec<LogitLimits> {
  static bool read(const Node&, LogitLimits&, const Reading&);
  static Node write(const LogitLimits& value);
  static std::string type(const About&) { return "{kld, top1}"; }
  static Json schema(const About& about);
};

template <>
struct Codec<PipelineStep> {
  static bool read(const Node&, PipelineStep&, const Reading&);
  static Node write(const PipelineStep& value);
  static std::string type(const About&) { return "step"; }
  static Json schema(const About& about);
};

template <>
struct Codec<SampleSection> {
  static bool read(const Node&, SampleSection&, const Reading&);
  static Node write(const SampleSection& value);
  static std::string type(const About&);
  static Json schema(const About&);
};

template <class E>
requires std::is_enum_v<E>
struct Codec<E> {
  static std::vector<Choice> choices() {
    std::vector<Choice> all;
    for (const auto& word : Words<E>::table) all.push_back({word.word, word.later});
    return all;
  }
  static bool read(const Node& node, E& value, const Reading& reading) {
    const auto all = choices();
    const About about{.help = reading.about.help, .choices = all};
    std::string word;
    if (!Codec<std::string>::read(node, word, {reading.mistakes, reading.key, about})) return false;
    for (const auto& known : Words<E>::table) {
      if (known.word == word) value = known.value;
    }
    return true;
  }
  static Node write(E value) { return text_node(std::string(word_of(value))); }
  static std::string type(const About&) { return choices_text(choices()); }
  static Json schema(const About&) {
    const auto all = choices();
    return word_schema({.choices = all});
  }
};

// Auto<T>: the word `auto`, or a T.
template <class T>
struct Codec<std::optional<T>> {
  static bool read(const Node& node, std::optional<T>& value, const Reading& reading) {
    if (node.is_scalar() && node.text() == "auto") {
      value.reset();
      return true;
    }
    T read{};
    if (!Codec<T>::read(node, read, reading)) return false;
    value = std::move(read);
    return true;
  }
  static Node write(const std::optional<T>& value) { return value ? Codec<T>::write(*value) : Node::scalar("auto"); }
  static std::string type(const About& about) { return "auto, or " + Codec<T>::type(about); }
  static Json schema(const About& about) {
    return Json::Object{{"anyOf", Json::Array{Json::Object{{"const", "auto"}}, Codec<T>::schema(about)}}};
  }
};

template <class T>
struct Codec<std::vector<T>> {
  static bool read(const Node& node, std::vector<T>& value, const Reading& reading) {
    const Node list = unfolded(node, reading.key);
    if (list.is_null() || list.is_map()) {
      reading.expected(list, "a list");
      return false;
    }
    std::vector<T> items;
    bool good = true;
    for (const Node& item : list.is_list() ? list.items() : std::vector<Node>{list}) {
      good = Codec<T>::read(item, items.emplace_back(), reading) && good;
    }
    if (good) value = std::move(items);
    return good;
  }
  static Node write(const std::vector<T>& value) {
    std::vector<Node> items;
    for (const auto& item : value) items.push_back(Codec<T>::write(item));
    return Node::list(std::move(items));
  }
  static std::string type(const About& about) { return "list of: " + Codec<T>::type(about); }
  static Json schema(const About& about) {
    const Json item = Codec<T>::schema(about);
    return Json::Object{{"anyOf", Json::Array{item, Json::Object{{"type", "array"}, {"items", item}}}}};
  }
};

template <class T>
struct Codec<std::map<std::string, T>> {
  static bool read(const Node& node, std::map<std::string, T>& value, const Reading& reading) {
    const Node map = unfolded(node, reading.key);
    if (!map.is_map()) {
      reading.expected(map, "a map of " + Codec<T>::type(reading.about));
      return false;
    }
    std::map<std::string, T> members;
    bool good = true;
    for (const auto& member : map.members()) {
      const Reading below{reading.mistakes, reading.key + "." + member.key, reading.about};
      good = Codec<T>::read(member.value, members[member.key], below) && good;
    }
    if (good) value = std::move(members);
    return good;
  }
  static Node write(const std::map<std::string, T>& value) {
    Node map = Node::map();
    for (const auto& [key, item] : value) map.set(key, Codec<T>::write(item));
    return map;
  }
  static std::string type(const About& about) { return "map of: " + Codec<T>::type(about); }
  static Json schema(const About& about) {
    return Json::Object{{"type", "object"}, {"additionalProperties", Codec<T>::schema(about)}};
  }
};

}  // namespace prentice
