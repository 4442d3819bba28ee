#include "text/utf8.h"

namespace prentice {

bool is_utf8(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    auto byte = [&](size_t offset) { return static_cast<unsigned char>(text[at + offset]); };
    if (byte(0) < 0x80) {
      ++at;
      continue;
    }
    size_t length = byte(0) < 0xc2 ? 0 : byte(0) < 0xe0 ? 2 : byte(0) < 0xf0 ? 3 : byte(0) < 0xf5 ? 4 : 0;
    if (length == 0 || at + length > text.size()) return false;
    for (size_t i = 1; i < length; ++i) {
      if ((byte(i) & 0xc0) != 0x80) return false;
    }
    if (byte(0) == 0xe0 && byte(1) < 0xa0) return false;  // overlong
    if (byte(0) == 0xed && byte(1) > 0x9f) return false;  // surrogate
    if (byte(0) == 0xf0 && byte(1) < 0x90) return false;  // overlong
    if (byte(0) == 0xf4 && byte(1) > 0x8f) return false;  // above U+10FFFF
    at += length;
  }
  return true;
}

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
