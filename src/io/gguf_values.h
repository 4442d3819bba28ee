// Single values of a GGUF file's metadata as the reader of a model wants them: writers differ in the widths they
// choose.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "io/gguf.h"

namespace prentice {

// nullopt when the key is absent. Errors (all): `model`, naming file and key, for a value of another kind.
std::optional<int64_t> gguf_integer(const GgufReader&, std::string_view key);
// Of an f32 the shortest decimal that reads back to it, so that 1e-6 stays 1e-6. Errors: also one that is not finite.
std::optional<double> gguf_number(const GgufReader&, std::string_view key);
std::optional<bool> gguf_flag(const GgufReader&, std::string_view key);
std::optional<std::string> gguf_text(const GgufReader&, std::string_view key);
const GgufArray* gguf_list(const GgufReader&, std::string_view key);  // nullptr when absent

}  // namespace prentice
