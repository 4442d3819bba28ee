// A line of fixed width in the metadata of a GGUF or safetensors file, for what is known only once the file is whole.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace prentice {

inline constexpr size_t kStampWidth = 96;  // bytes

// What stands in the metadata until then.
std::string blank_stamp();

// Puts `text` (cut to the width, filled up with spaces; anything but printable ASCII becomes '?') where the first blank
// stamp of the file is, and waits for the disk. A file without one is left as it is. Errors: `storage`.
void fill_stamp(const std::filesystem::path& path, std::string_view text);

}  // namespace prentice
