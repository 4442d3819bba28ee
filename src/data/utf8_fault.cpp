#include "data/utf8_fault.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/utf8.h"

namespace prentice {

namespace {

std::string describe(std::string_view text, size_t at) {
  std::string bytes;
  for (size_t i = at; i < std::min(at + 3, text.size()); ++i) {
    bytes += fmt::format("{}{:02X}", i > at ? " " : "", static_cast<unsigned char>(text[i]));
  }
  const auto lead = static_cast<unsigned char>(text[at]);
  const auto second = at + 1 < text.size() ? static_cast<unsigned char>(text[at + 1]) : 0;
  if (lead == 0xed && second >= 0xa0) return bytes + " is half of a UTF-16 surrogate pair (CESU-8)";
  return bytes + " is no character";
}

}  // namespace

std::optional<Utf8Fault> find_utf8_fault(std::string_view text, size_t from) {
  const size_t at = first_bad_utf8(text, from);
  if (at == text.npos) return std::nullopt;
  return Utf8Fault{at, describe(text, at)};
}

}  // namespace prentice
