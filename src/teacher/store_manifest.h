// The sidecar of a store: what each commit and each full shard must hash to. Durable before the shard itself says that
// the rows are there, so that a reader can tell rows that were committed from bytes that were never written.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "teacher/store_layout.h"

namespace prentice {

struct StoreManifest {
  struct Shard {
    std::vector<std::string> commits;  // SHA-256 of chunk 0, 1, ...
    uint64_t file_bytes = 0;           // of a full shard
    std::string file_sha256;

    bool full() const { return !file_sha256.empty(); }
  };
  std::vector<Shard> shards;  // full ones, then at most one in work

  bool finished(const StoreLayout& layout) const { return shards.size() == layout.shards() && shards.back().full(); }
  uint64_t lines() const;
  // Rows of the store that the lines speak of; the last commit of a shard in work may lack its last step.
  uint64_t rows(const StoreLayout& layout) const;
};

// A torn last line is left out. Errors: `model` for lines that are no sequence of commits of this layout.
StoreManifest read_store_manifest(const std::filesystem::path& store, const StoreLayout& layout);

// How many chunks of a shard in work hold, given its lines and the attribute. The attribute names the last line or the
// one before; anything else was torn in its eight bytes, and then the line before the last holds for certain.
uint64_t settled_chunks(const StoreManifest::Shard& shard, uint64_t committed_rows, const StoreLayout& layout,
                        uint64_t shard_rows);

uint64_t rows_after(uint64_t chunks, uint64_t chunk_rows, uint64_t shard_rows);  // of a shard, without its padding

std::string commit_line(uint64_t shard, uint64_t rows, const std::string& sha256);
std::string full_line(uint64_t shard, uint64_t bytes, const std::string& sha256,
                      const std::vector<std::string>& commits);

}  // namespace prentice
