// Which bytes are UTF-8: no overlong forms, no surrogates, nothing above U+10FFFF (Unicode 15, table 3-7). Separate
// because recipes, data, tokenizer files and what a terminal shows all ask.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace prentice {

// Bytes of the well-formed character that begins at text[at], 0 when there is none. `at` is below the text's size.
size_t utf8_character_size(std::string_view text, size_t at);

// The same by the leading byte alone, of text that is UTF-8.
size_t utf8_size_by_lead(std::string_view text, size_t at);

bool is_utf8(std::string_view text);

std::string utf8_of(char32_t code_point);
inline constexpr std::string_view kReplacementCharacter = "\ufffd";

// Offset of the first byte at or after `from` (the start of a character) that is no part of one; npos when all are.
size_t first_bad_utf8(std::string_view text, size_t from = 0);

// No character, or white space only: what Python's str.strip leaves nothing of.
bool is_blank(std::string_view text);

// The text without white space around it, as str.strip leaves it.
std::string_view stripped(std::string_view text);

// Control characters and bytes that are not UTF-8 as \xNN: what a file says cannot move the cursor or break JSON.
std::string printable(std::string_view text);

// At most `most` bytes of the text from the character that byte `at` is a part of, without a part of the last one.
std::string_view whole_characters(std::string_view text, size_t at, size_t most);

}  // namespace prentice
