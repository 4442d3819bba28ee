// The files of configs/ (facts that recipes and models name): embedded in the binary, or a folder given by --configs.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace prentice {

// `path` is relative to configs/, for instance "families/x.yaml"; nullopt when there is none. A file of the override
// folder wins over an embedded one.
std::optional<std::string> read_config(std::string_view path);

// The same for a user's path that ends in configs/NAME: such a file need not exist on this machine.
std::optional<std::string> read_embedded(std::string_view path);
// All paths that start with `prefix` ("models/"), sorted.
std::vector<std::string> list_configs(std::string_view prefix);
// Called once, before threads start. Errors: `usage` when `folder` is no folder.
void override_configs(const std::filesystem::path& folder);

}  // namespace prentice
