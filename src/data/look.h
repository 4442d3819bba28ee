// A first look at a data file, for a starter recipe: its kind, the members of its first record, how many there are.
// Separate from loading, which needs a recipe.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "config/schema.h"

namespace prentice {

struct DataLook {
  std::string kind;                  // as Source's
  bool plain_text = false;           // a text file has no members
  std::vector<std::string> members;  // of the first record
  std::optional<DataFormat> format;  // that the first record has, if it is one of those known
  int64_t records = 0;
};

// Errors: as read_source, and `data` when the first record cannot be read or is no object.
DataLook look_at_data(const std::string& path);

// The columns of a Parquet file in order, each with the type that its first rows give a recipe ("integer", "string",
// "list"); "null" where they hold nothing.
struct ParquetLook {
  int64_t rows = 0;
  std::vector<std::pair<std::string, std::string>> columns;
};

// Errors: `data`.
ParquetLook look_at_parquet(const std::string& path);

}  // namespace prentice
