// The rows that a list of files gives, before any is tokenized. Separate from encoding because the split between
// training and evaluation lies between the two.
#pragma once

#include <string>
#include <vector>

#include "config/schema.h"
#include "data/problems.h"
#include "data/row.h"

namespace prentice {

struct LoadedRows {
  std::vector<Row> rows;
  DataFormat format = DataFormat::automatic;  // of the first file
  bool weighted = false;                      // the files are a mix
  std::string files;                          // "a.jsonl (75 %), b.jsonl (25 %)": for descriptions
  std::vector<std::string> warnings;
};

// Bad records are left out and added to `problems`. Errors: `usage` for a missing path, a file named twice, bad
// weights.
LoadedRows load_rows(const std::vector<WeightedFile>& files, const DataSection& section, const RowMaker& maker,
                     int threads, Problems& problems);

}  // namespace prentice
