#include "core/utf8.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <iterator>

namespace prentice {

namespace {

size_t skip_ascii(std::string_view text, size_t at) {
  while (at + 8 <= text.size()) {
    uint64_t word = 0;
    std::memcpy(&word, text.data() + at, 8);
    if (word & 0x8080808080808080u) break;
    at += 8;
  }
  while (at < text.size() && static_cast<unsigned char>(text[at]) < 0x80) ++at;
  return at;
}

// Bytes of the white space that the text begins with: one character of what Python's str.isspace knows; 0 = none.
size_t space_size(std::string_view text) {
  static constexpr std::string_view kSpaces[] = {
      "\t",     "\n",     "\v",     "\f",     "\r",     "\x1c",   "\x1d",   "\x1e",   "\x1f",   " ",
      "\u0085", "\u00a0", "\u1680", "\u2000", "\u2001", "\u2002", "\u2003", "\u2004", "\u2005", "\u2006",
      "\u2007", "\u2008", "\u2009", "\u200a", "\u2028", "\u2029", "\u202f", "\u205f", "\u3000"};
  const auto starts = [&](std::string_view space) { return text.starts_with(space); };
  const auto space = std::find_if(std::begin(kSpaces), std::end(kSpaces), starts);
  return space == std::end(kSpaces) ? 0 : space->size();
}

}  // namespace

size_t utf8_character_size(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) { return at + i < text.size() ? static_cast<unsigned char>(text[at + i]) : 0; };
  const auto continues = [&](size_t i) { return (byte(i) & 0xc0) == 0x80; };
  const unsigned lead = byte(0), second = byte(1);
  if (lead < 0x80) return 1;
  if (lead >= 0xc2 && lead <= 0xdf) return continues(1) ? 2 : 0;
  if (lead >= 0xe0 && lead <= 0xef) {
    if (!continues(1) || !continues(2)) return 0;
    return (lead == 0xe0 && second < 0xa0) || (lead == 0xed && second > 0x9f) ? 0 : 3;
  }
  if (lead >= 0xf0 && lead <= 0xf4) {
    if (!continues(1) || !continues(2) || !continues(3)) return 0;
    return (lead == 0xf0 && second < 0x90) || (lead == 0xf4 && second > 0x8f) ? 0 : 4;
  }
  return 0;
}

bool is_utf8(std::string_view text) { return first_bad_utf8(text) == text.npos; }

std::string utf8_of(char32_t code_point) {
  const auto byte = [](char32_t value) { return static_cast<char>(static_cast<unsigned char>(value)); };
  if (code_point < 0x80) return {byte(code_point)};
  if (code_point < 0x800) return {byte(0xc0 | (code_point >> 6)), byte(0x80 | (code_point & 0x3f))};
  if (code_point < 0x10000) {
    return {byte(0xe0 | (code_point >> 12)), byte(0x80 | ((code_point >> 6) & 0x3f)), byte(0x80 | (code_point & 0x3f))};
  }
  return {byte(0xf0 | (code_point >> 18)), byte(0x80 | ((code_point >> 12) & 0x3f)),
          byte(0x80 | ((code_point >> 6) & 0x3f)), byte(0x80 | (code_point & 0x3f))};
}

size_t utf8_size_by_lead(std::string_view text, size_t at) {
  const auto byte = static_cast<unsigned char>(text[at]);
  return byte < 0xc0 ? 1 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
}

size_t first_bad_utf8(std::string_view text, size_t from) {
  for (size_t at = skip_ascii(text, from); at < text.size(); at = skip_ascii(text, at)) {
    const size_t size = utf8_character_size(text, at);
    if (size == 0) return at;
    at += size;
  }
  return text.npos;
}

bool is_blank(std::string_view text) { return stripped(text).empty(); }

std::string_view stripped(std::string_view text) {
  size_t begin = text.npos, end = 0;
  for (size_t at = 0; at < text.size();) {
    if (const size_t space = space_size(text.substr(at))) {
      at += space;
      continue;
    }
    begin = std::min(begin, at);
    end = at += std::max<size_t>(1, utf8_character_size(text, at));
  }
  return begin == text.npos ? std::string_view() : text.substr(begin, end - begin);
}

std::string printable(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const auto byte = static_cast<unsigned char>(text[at]);
    const size_t length = utf8_character_size(text, at);
    const bool control =
        byte < 0x20 || byte == 0x7F || (byte == 0xC2 && length == 2 && static_cast<unsigned char>(text[at + 1]) < 0xA0);
    if (length == 0 || control) {
      out += fmt::format("\\x{:02x}", byte);
      at += 1;
    } else {
      out += text.substr(at, length);
      at += length;
    }
  }
  return out;
}

std::string_view whole_characters(std::string_view text, size_t at, size_t most) {
  const auto continues = [&](size_t i) { return (static_cast<unsigned char>(text[i]) & 0xc0) == 0x80; };
  at = std::min(at, text.size());
  size_t first = at;
  for (int back = 0; back < 3 && first > 0 && first < text.size() && continues(first); ++back) --first;
  if (first < at && first + utf8_character_size(text, first) <= at) first = at;  // strange bytes, each for itself
  size_t end = first;
  while (end < text.size()) {
    const size_t next = end + std::max<size_t>(1, utf8_character_size(text, end));
    if (next - first > most) break;
    end = next;
  }
  return text.substr(first, end - first);
}

}  // namespace prentice
