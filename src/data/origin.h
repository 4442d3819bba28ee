// Where a row comes from, and how a person is told.
#pragma once

#include <cstdint>
#include <string>

#include "core/error.h"

namespace prentice {

struct Origin {
  std::string file;
  int64_t line = 0;    // 1-based, where it begins; 0 = the file has no lines
  int64_t record = 0;  // 1-based, of a file whose records are not told apart by lines (a JSON array, Parquet); else 0
};

// "rows.jsonl:12", "rows.json:12, record 3", "rows.parquet, record 3".
std::string to_string(const Origin& origin);

// A mistake of that row, the record's number before the message.
Diagnostic mistake_at(const Origin& origin, std::string message, std::string hint = "");

}  // namespace prentice
