// Paths and artifact addresses as text: what a recipe's words become once the folder they were written in is known.
// What an address holds is the business of artifact/artifact.h.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "config/node.h"

namespace prentice {

// Absolute and without `.` and `..`; a leading ~/ is the home folder.
std::filesystem::path absolute_from(const std::filesystem::path& folder, const std::string& path);
// The folder that a value's relative paths start from: its file's, or the current one for the command line.
std::filesystem::path folder_of(const Position& position);

// The parts of an artifact address: PATH, PATH@CHECKPOINT, and either with +ADAPTER behind it.
struct Address {
  std::string path;        // a path, ORG/NAME or the name of a shape
  std::string checkpoint;  // "120" or "best"; "" = none
  std::string adapter;     // an address of its own; "" = none
};
// What exists below `folder` as it is written is a path, whatever characters it holds; else the last + and then the
// last @ divide it.
Address parse_address(const std::filesystem::path& folder, const std::string& address);
// The text of what stands before the + of an adapter.
std::string without_adapter(const Address&);

// An address with its paths absolute: RUN@STEP and BASE+ADAPTER by parts; ORG/NAME (where ORG is no folder) and names
// under configs/models stay as they are.
std::string absolute_address(const std::filesystem::path& folder, const std::string& address);
// Whether something stands there: a path, a cached model, a shape, or below one of `promised`.
bool address_exists(const std::string& address, const std::vector<std::filesystem::path>& promised);
// ORG/NAME of the hub: one that the cache has, or could have where ORG is no folder that a path would start with.
bool is_hub_address(const std::filesystem::path& folder, const std::string& address);
bool is_promised(const std::filesystem::path& path, const std::vector<std::filesystem::path>& promised);

}  // namespace prentice
