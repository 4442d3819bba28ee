#include "text/utf8.h"

#include "core/utf8.h"

namespace prentice {

bool is_utf8(std::string_view text) { return first_bad_utf8(text) == text.npos; }

std::string utf8_of(char32_t code_point) {
  auto byte = [](char32_t value) { return static_cast<char>(static_cast<unsigned char>(value)); };
  if (code_point < 0x80) return {byte(code_point)};
  if (code_point < 0x800) return {byte(0xc0 | (code_point >> 6)), byte(0x80 | (code_point & 0x3f))};
  if (code_point < 0x10000) {
    return {byte(0xe0 | (code_point >> 12)), byte(0x80 | ((code_point >> 6) & 0x3f)), byte(0x80 | (code_point & 0x3f))};
  }
  return {byte(0xf0 | (code_point >> 18)), byte(0x80 | ((code_point >> 12) & 0x3f)),
          byte(0x80 | ((code_point >> 6) & 0x3f)), byte(0x80 | (code_point & 0x3f))};
}

size_t character_bytes(std::string_view text, size_t at) {
  auto byte = static_cast<unsigned char>(text[at]);
  return byte < 0xc0 ? 1 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
}

}  // namespace prentice
