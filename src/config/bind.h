// The visitors that walk config/fields.h: one reads a section from a Node, one writes it, one lists what it holds. They
// report every mistake and stop at none.
#pragma once

#include <set>
#include <string>
#include <type_traits>
#include <vector>

#include "config/kinds.h"
#include "config/values.h"

namespace prentice {

// Makes the path or address in a value just read absolute; values without paths stay.
void make_absolute(std::string& value, const Node& node, const About& about);
void make_absolute(std::vector<std::string>& value, const Node& node, const About& about);
void make_absolute(std::vector<WeightedFile>& value, const Node& node, const About& about);
void make_absolute(std::vector<PipelineStep>& value, const Node& node, const About& about);
template <class T>
void make_absolute(T&, const Node&, const About&) {}

// A key that stands twice in `map`, once for each repetition.
void report_duplicates(const Node& map, RecipeMistakes& mistakes);

class FieldReader {
 public:
  FieldReader(std::string_view kind, std::string section, const Node& node, RecipeFacts& facts,
              RecipeMistakes& mistakes)
      : kind_(kind), section_(std::move(section)), node_(node), facts_(facts), mistakes_(mistakes) {}

  template <class T>
  void operator()(std::string_view key, T& value, const About& about) {
    const std::string full = section_ + "." + std::string(key);
    const Node* node = claim(key, full);
    if (!node) return;
    T read = value;
    if (!Codec<T>::read(*node, read, {mistakes_, full, about})) return;
    if constexpr (std::is_same_v<T, bool> || std::is_same_v<T, std::vector<std::string>>) {
      if (about.later && read != value) return refuse_later(*node, full);
    }
    if (read != value) facts_.changed.insert(full);
    make_absolute(read, *node, about);
    value = std::move(read);
    facts_.given[full] = *node;
  }
  void reserved(std::string_view key, std::string_view help);
  // Reports the keys that nobody claimed.
  void finish();

 private:
  const Node* claim(std::string_view key, const std::string& full);
  void refuse_later(const Node& node, const std::string& full);

  std::string_view kind_;
  std::string section_;
  const Node& node_;
  RecipeFacts& facts_;
  RecipeMistakes& mistakes_;
  std::vector<std::string> known_;
  std::set<std::string, std::less<>> claimed_;
};

// Every key with its value, in order; a key that only a later version reads is left out.
class FieldWriter {
 public:
  FieldWriter(std::string_view kind, std::string section) : kind_(kind), section_(std::move(section)) {}
  template <class T>
  void operator()(std::string_view key, T& value, const About& about) {
    if (about.later || !consumes(kind_, section_ + "." + std::string(key))) return;
    node_.set(std::string(key), Codec<std::remove_const_t<T>>::write(value));
  }
  void reserved(std::string_view, std::string_view) {}
  Node take() { return std::move(node_); }

 private:
  std::string_view kind_;
  std::string section_;
  Node node_ = Node::map();
};

// What is known about one key, as data: explain, the JSON schema and the tests read this.
struct FieldDoc {
  std::string kind, section, key, type, help, why, later_words, default_text;
  std::string full_default;  // with adapter.kind: full, where it differs
  PathKind path = PathKind::none;
  Json schema;
  bool later = false;  // the whole key
  std::string name() const { return section + "." + key; }
};
// All keys of a kind, reserved ones included; the defaults are those that resolve_defaults leaves.
std::vector<FieldDoc> describe_fields(std::string_view kind);
// Over all kinds; PathKind::none for an unknown key.
PathKind path_kind(std::string_view section_key);
// The sections that have this key, in any kind: for hints.
std::vector<std::string> sections_with_key(std::string_view key);
// "did you mean optim.lr?" for a name that other trainers use (learning_rate), else "".
std::string foreign_name_hint(std::string_view key);
std::vector<std::string> sections_of_kind(std::string_view kind);
std::vector<std::string> kinds_with_section(std::string_view section);

}  // namespace prentice
