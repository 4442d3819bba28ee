// What a terminal needs: colour only where it is wanted, and text from strange files made harmless.
#pragma once

#include <string>
#include <string_view>

namespace prentice {

enum class Style { error, hint, good };

// `text` in colour when `descriptor` is a terminal and NO_COLOR is not set, else as it is.
std::string styled(std::string_view text, Style style, int descriptor);

// Control characters and bytes that are not UTF-8 as \xNN: what a file says cannot move the cursor or break JSON.
std::string printable(std::string_view text);

// stdout, all at once.
void print_result(std::string_view text);

}  // namespace prentice
