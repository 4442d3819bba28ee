// A finished teacher store, read in any order. Separate from the writer because it trusts nothing: hashes before the
// library opens a file, checksums on each chunk, bounds on each row.
#pragma once

#include <cstdint>
#include <filesystem>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "io/hdf5.h"
#include "teacher/store_layout.h"
#include "teacher/target_rows.h"

namespace prentice {

struct RowRange {
  uint64_t first = 0, count = 0;
};

// What the rows of a store hold, on average.
struct StoreSummary {
  double mass = 0;     // in the entries that are kept: 1 - tail
  double entries = 0;  // kept
};

class TeacherStore {
 public:
  enum class Unfinished { refuse, allow };
  enum class Hashes { verify, trust };

  // Checks the key, then every file against the manifest. `allow` is for the run that writes the store: its committed
  // rows can be read before it is done. `trust` takes files of the right size as they are: only each chunk that is read
  // is checked, by its own checksum. Errors: `usage` when missing; `model` when it is of another key (each
  // difference by name), unfinished, or a file's hash differs.
  static TeacherStore open(const std::filesystem::path& store, const ExpectedKey& expected,
                           Unfinished unfinished = Unfinished::refuse, Hashes hashes = Hashes::verify);
  TeacherStore(TeacherStore&&) noexcept;
  ~TeacherStore();

  const StoreKey& key() const;
  const StoreLayout& layout() const;
  uint64_t committed_rows() const;  // layout().rows once finished

  // Over the rows that are committed. Reads the row tables through.
  StoreSummary summary() const;
  // The targets of a sample: one row for each token of it that is trained on, in their order.
  RowRange sample_rows(uint64_t sample) const;
  // The sample that is this example (data/content.h); of several that are equal the first.
  std::optional<uint64_t> find(uint64_t content) const;
  // The rows of the ranges, one after the other: N rows, K the largest count among them. Safe from several threads.
  // Errors: `internal` for rows that are not committed; `model` when a chunk or a row does not hold.
  TargetRows read(std::span<const RowRange> ranges) const;

 private:
  struct State;
  explicit TeacherStore(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace prentice
