// Finds bytes that are not UTF-8 and says what they are instead: real data sets hold CESU-8, Latin-1 and UTF-16.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace prentice {

struct Utf8Fault {
  size_t offset = 0;  // of the first bad byte in the text
  std::string reason;
};

// The first fault at or after `from` (which must be the start of a character); nullopt when there is none. Refuses
// overlong forms, surrogates and code points above U+10FFFF (Unicode 15, table 3-7).
std::optional<Utf8Fault> find_utf8_fault(std::string_view text, size_t from = 0);

}  // namespace prentice
