// Files that `inspect` does not read, and what to do with them instead.
#pragma once

#include <filesystem>
#include <string_view>

namespace prentice {

// `begin`: the first bytes of the file, some hundred. Returns for what may be a safetensors file. Errors: `model` for a
// pickle, which by content or name it is; `usage` for a text and for a shard of a teacher store.
void refuse_uninspected(const std::filesystem::path& path, std::string_view begin);

}  // namespace prentice
