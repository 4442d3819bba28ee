// UTF-8 at the byte level: is a text valid, where does a character begin, how is a code point written.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace prentice {

inline constexpr std::string_view kReplacementCharacter = "\ufffd";

// No overlong forms, no surrogates, nothing above U+10FFFF.
bool is_utf8(std::string_view text);

std::string utf8_of(char32_t code_point);

// Bytes of the character that begins at text[at]; the text is valid UTF-8.
size_t character_bytes(std::string_view text, size_t at);

}  // namespace prentice
