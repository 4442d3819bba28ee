// Text as one word of a shell command that a user may copy: names come from recipes and files.
#pragma once

#include <string>

namespace prentice {

// `text` itself where no shell reads it otherwise, else in single quotes (POSIX 2.2.2).
std::string shell_word(const std::string& text);

}  // namespace prentice
