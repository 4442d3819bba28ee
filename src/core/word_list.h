// Whether a word is among others, as recipes, family files and topics of `explain` list them.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

namespace prentice {

inline bool holds(const std::vector<std::string>& words, std::string_view word) {
  return std::ranges::find(words, word) != words.end();
}

}  // namespace prentice
