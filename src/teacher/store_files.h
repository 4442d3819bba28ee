// The files of a store: made at full size, and opened only when they are what store.json says.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "io/hdf5.h"
#include "teacher/store_layout.h"

namespace prentice {

// All files of an unwritten store; store.json is published last. Errors: `storage` with the bytes missing.
void make_store_files(const std::filesystem::path& store, StoreDescription description,
                      std::span<const StoreSample> samples);

// Errors: `model` when the file is not the one that store.json names, which is found before the library sees it, or
// its rows are not those of the description.
std::vector<StoreSample> read_samples(const std::filesystem::path& store, const StoreDescription& description);

// A shard with both tables open. Errors: `model` when it is of another store or another place in it, or its tables
// differ from the layout.
Hdf5File open_shard_file(const std::filesystem::path& store, const StoreDescription& description, uint64_t shard,
                         Hdf5File::Access access);

// Hash of a chunk as the manifest has it.
std::string chunk_sha256(std::span<const std::byte> rows, std::span<const std::byte> pool);

}  // namespace prentice
