// manifest.json: size and SHA-256 of every file of a checkpoint, and of itself, so that no flipped bit goes unseen.
#pragma once

#include <filesystem>
#include <string>

#include "io/json.h"

namespace prentice {

// Hashes every file below `folder` and writes manifest.json, last: `facts` first, then the files, then the SHA-256 of
// the manifest's own text with that hash blanked. Errors: `storage`.
void write_manifest(const std::filesystem::path& folder, Json::Object facts);

// Why the folder is not what its manifest says ("trainer.json: expected 310 bytes, got 12"); "" when all of it is.
// Errors: `storage` when the disk cannot be read.
std::string damage_of(const std::filesystem::path& folder);

// The manifest of a folder without damage.
Json read_manifest(const std::filesystem::path& folder);

// Bytes of all files that a verified manifest lists.
uint64_t listed_bytes(const Json& manifest);

}  // namespace prentice
