// Whether memory has run out, told from what the libraries throw then: they share no type.
#pragma once

#include <exception>
#include <optional>
#include <string>

namespace prentice {

// What could not be had, as the thrower says it ("20.00 MiB", "4096 bytes"), empty where it does not; nullopt when
// something else went wrong.
std::optional<std::string> out_of_memory(const std::exception&);

}  // namespace prentice
