// One file into the cache: locked against other processes, continued where an earlier attempt broke off, checked
// against its hash, and only then given its name.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "hub/remote.h"

namespace prentice {

// Where the bytes of `file` are to lie and what to call the model in messages.
struct BlobPlace {
  std::string model, commit;
  std::filesystem::path blob, lock;
};

// Bytes of `file` that are here already: all of them, or those of an attempt that broke off (in blob + ".incomplete").
uint64_t bytes_at_hand(const BlobPlace& place, const HubFile& file);

// Makes place.blob hold `file`, verified; `tell(bytes)` says how much of it is here. What is there already is checked,
// too, and fetched again if it is damaged. Returns the bytes that arrived. Errors: as Hub, and `storage` for a full
// disk, `model` for a wrong hash.
uint64_t fetch_blob(Hub& hub, const BlobPlace& place, const HubFile& file, const std::function<void(uint64_t)>& tell);

}  // namespace prentice
