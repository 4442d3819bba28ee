// What becomes of a file or folder that fails its verification: it keeps its bytes, and not its name.
#pragma once

#include <filesystem>
#include <string_view>

namespace prentice {

inline constexpr const char* kRejectedSuffix = ".rejected";

// What stands under the new name: of somebody, or of the run that makes the same product again.
enum class IfRejected { number, replace };

// Renames `from` to NAME.rejected, NAME being that of `final_path`, or to NAME.rejected.2 and so on where that is taken
// and not to be replaced. A link is renamed, not what it leads to. The new path. Errors: `storage`.
std::filesystem::path reject(const std::filesystem::path& from, const std::filesystem::path& final_path, IfRejected);

// Whether the file `name` of `root` has this hash where it belongs or, if it is not there, in something that was
// renamed so: merged/model.safetensors is merged.rejected/model.safetensors, too.
bool is_kept(const std::filesystem::path& root, const std::filesystem::path& name, std::string_view sha256);

}  // namespace prentice
