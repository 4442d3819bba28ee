// Files to records: JSON Lines, JSON, CSV, TSV, Parquet and plain text, by extension and content. Knows no data format.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/problems.h"
#include "io/json.h"

namespace prentice {

struct Record {
  Json value;
  int64_t line = 0;    // as Origin's
  int64_t number = 0;  // as Origin's record
};

struct Source {
  std::string path;
  std::string kind;             // "JSON Lines", "JSON", "CSV", "TSV", "Parquet", "text": for messages
  bool plain_text = false;      // records are {"text": ...}, made from a text file
  std::vector<Record> records;  // of CSV: objects of strings
  int64_t total = 0;            // records the file holds, bad ones included; with a limit only where `count` asks
};

struct SourceOptions {
  bool lines = false;  // of a plain text file: one record a line (blank ones left out), not one a file
  int64_t limit = 0;   // at most this many records; 0 = all
  bool count = false;  // also count those behind the limit
  int threads = 1;
};

// Bad bytes and bad records go to `problems`; the rest is returned. Errors: `usage` when the path is missing or of a
// kind that is not read (Arrow, compressed files).
Source read_source(const std::string& path, const SourceOptions& options, Problems& problems);

}  // namespace prentice
