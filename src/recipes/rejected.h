// What becomes of a file or folder that fails its verification: it keeps its bytes, and not its name.
#pragma once

#include <filesystem>

namespace prentice {

inline constexpr const char* kRejectedSuffix = ".rejected";

// Renames `from` to NAME.rejected, NAME being that of `final_path`; an older one of that name is deleted. The new path.
// Errors: `storage`.
std::filesystem::path reject(const std::filesystem::path& from, const std::filesystem::path& final_path);

}  // namespace prentice
