// What a terminal needs: colour only where it is wanted. What strange files say is made harmless by core/utf8.h.
#pragma once

#include <string>
#include <string_view>

namespace prentice {

enum class Style { error, hint, good };

// `text` in colour when `descriptor` is a terminal and NO_COLOR is not set, else as it is.
std::string styled(std::string_view text, Style style, int descriptor);

// stdout, all at once.
void print_result(std::string_view text);

}  // namespace prentice
