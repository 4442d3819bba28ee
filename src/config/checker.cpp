#include "config/checker.h"

#include <fmt/format.h>

#include <cmath>

namespace prentice {

bool is_device(std::string_view word) {
  const bool indexed = word.starts_with("cuda:") && parse_integer(word.substr(5)).value_or(-1) >= 0;
  return word == "cpu" || word == "cuda" || indexed;
}

Position Checker::position(std::string_view key, std::string_view word) const {
  const auto found = facts_.given.find(std::string(key));
  if (found == facts_.given.end()) return root_;
  const Node& value = found->second;
  if (word.empty()) return value.position();
  for (const auto& member : value.members()) {
    if (member.key == word) return member.position;
  }
  for (const auto& item : value.items()) {
    if (item.is_scalar() && item.text() == word) return item.position();
  }
  return value.position();
}

void Checker::mistake(std::string_view key, std::string message, std::string hint) {
  mistakes_.add(position(key), std::string(key), std::move(message), std::move(hint));
}

void Checker::mistake(const KeyMistake& found) {
  mistakes_.add(position(found.key, found.word), found.key, found.message, found.hint);
}

void Checker::mistakes(const std::vector<KeyMistake>& found) {
  for (const auto& one : found) mistake(one);
}

void Checker::without_effect(std::initializer_list<std::string_view> keys, std::string_view reason, std::string hint) {
  for (const auto key : keys) {
    if (facts_.changed.contains(std::string(key))) mistake(key, fmt::format("has no effect {}", reason), hint);
  }
}

void Checker::exclusive(std::string_view key, std::string_view other) {
  if (has(key) && has(other)) mistake(key, fmt::format("cannot stand beside {}", other), "keep one of the two");
}

void Checker::whole_above_one(std::string_view key, double value) {
  if (value > 1 && value != std::floor(value)) {
    mistake(key, fmt::format("expected a share below 1 or a whole number, got {}", number_text(value)));
  }
}

}  // namespace prentice
