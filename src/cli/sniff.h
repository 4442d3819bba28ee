// A first look at a data file, for a starter recipe: its form, its fields, how many rows. What a row means is decided
// by the data room when a recipe runs.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace prentice {

struct DataLook {
  std::string form;                 // "JSONL", "JSON", "CSV", "TSV", "Parquet", "text"
  std::vector<std::string> fields;  // of the first record; empty for text
  int64_t rows = 0;                 // lines with content; 0 = not counted
};

// Errors: `usage` when the file is missing; `data` when its first record cannot be read.
DataLook look_at_data(const std::filesystem::path& path);

}  // namespace prentice
