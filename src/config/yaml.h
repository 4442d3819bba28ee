// How recipe files are parsed, in which a mistake must not hide the others.
#pragma once

#include <filesystem>

#include "config/node.h"

namespace prentice {

// As parse_yaml_file, but a section or a key of a section that is there twice stays, in file order: whoever binds the
// recipe reports it with everything else. Node::find gives the first.
Node parse_recipe_file(const std::filesystem::path& path);

}  // namespace prentice
