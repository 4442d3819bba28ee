// Rows gathered for one commit, and the choice of how many entries each of them keeps within the chunk's budget.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "teacher/row_code.h"
#include "teacher/store_layout.h"

namespace prentice {

struct EncodedChunk {
  std::vector<std::byte> rows, pool;  // chunk_rows records, padded with zeros; chunk_pool_bytes()
};

class ChunkEncoder {
 public:
  ChunkEncoder(const StoreKey& key, const StoreLayout& layout) : key_(key), layout_(layout) {}

  // One row: its likeliest tokens in any order, and the mass of all the others. Keeps at most top_k.
  // Errors: `numerical` for values that are not finite; `internal` for an id twice or outside the vocabulary, or masses
  // that do not sum to 1 within 0.001.
  void add(std::vector<Candidate> entries, double mass_outside);
  size_t size() const { return rows_.size(); }
  // Each row keeps its likeliest entries until less than layout.tail is left. Where that exceeds the chunk's budget,
  // the unlikeliest entries of the whole chunk go (one bound for all rows: the least mass is lost), down to one a row.
  EncodedChunk encode() const;
  void clear() { entries_.clear(), rows_.clear(); }

 private:
  struct Row {
    size_t first, count;  // entries kept for the tail, the likeliest first
    double outside;       // mass of what is not among them
  };
  size_t kept(const Row& row, float least) const;
  uint64_t pool_bytes(float least) const;

  StoreKey key_;
  StoreLayout layout_;
  std::vector<Candidate> entries_;
  std::vector<Row> rows_;
};

}  // namespace prentice
