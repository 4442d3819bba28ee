// Writes a teacher store row by row and can go on after being killed at any point. The protocol:
// all files are made at full size first, so a full disk shows before the teacher runs; a commit is one whole chunk,
// synced, then its line in the manifest, synced, then the shard's committed_rows, synced.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>

#include "io/hdf5.h"
#include "run/append_file.h"
#include "run/run_lock.h"
#include "teacher/chunk_encoder.h"
#include "teacher/store_manifest.h"
#include "teacher/target_rows.h"

namespace prentice {

class TeacherStoreWriter {
 public:
  // Makes the store, or goes on with the one that is there. Samples stand in the order of their rows. Errors: `usage`
  // when another process writes it, or the folder holds something else; `model` when it is the store of another key or
  // of other rows, or its last commit does not hold; `storage` with the bytes missing.
  TeacherStoreWriter(const std::filesystem::path& store, const StoreKey& key, std::span<const StoreSample> samples,
                     const StoreOptions& options = {});
  TeacherStoreWriter(const TeacherStoreWriter&) = delete;

  uint64_t rows() const { return layout_.rows; }
  uint64_t committed_rows() const { return committed_; }  // durable; the first append() starts here
  uint64_t next_row() const { return committed_ + chunk_.size(); }

  // The next rows [N, K], on the host: entries in any order, `tail` the mass outside of them; without `counts` each row
  // has K entries. Commits whenever a chunk is full. Errors: as ChunkEncoder::add; `internal` past rows(); `storage`.
  void append(const TargetRows& rows);
  // To be called after the last row. Errors: `internal` when rows are missing.
  void finish();

 private:
  void resume();
  uint64_t shard_end() const;  // the store's row after the last of the shard in work
  void require_chunk(uint64_t chunk, const std::string& sha256) const;
  void commit();
  void close_shard();

  std::filesystem::path store_;
  StoreLayout layout_;
  RunLock lock_;
  StoreDescription description_;
  std::optional<AppendFile> manifest_;
  std::optional<Hdf5File> file_;  // of the shard in work
  uint64_t shard_ = 0, committed_ = 0;
  ChunkEncoder chunk_;
};

}  // namespace prentice
