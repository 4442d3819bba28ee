// A first look at a data file, for a starter recipe: its kind, the members of its first records, how many there are.
// Separate from loading, which needs a recipe.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "config/schema.h"

namespace prentice {

// A member of the first records, or of an object that is one: "a.b".
struct FieldLook {
  std::string name;
  std::string kind;         // as Json::kind, of the first record that has it
  bool everywhere = false;  // every record looked at has it, of that kind and not blank
};

struct DataLook {
  std::string kind;                  // as Source's
  bool plain_text = false;           // a text file has no members
  std::vector<FieldLook> fields;     // in the order in which they are met
  std::optional<DataFormat> format;  // that the first record has, if it is one of those known
  int64_t records = 0;
};

// Errors: as read_source, and `data` when one of the first records cannot be read or is no object.
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
