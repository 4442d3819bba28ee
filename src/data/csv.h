// Comma- or tab-separated text with a header, as RFC 4180 and the common exporters write it: quoted fields may hold
// the separator, quotes ("") and line breaks; CRLF or LF; a quote inside an unquoted field is an ordinary character.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "data/problems.h"

namespace prentice {

struct CsvRow {
  std::vector<std::string> fields;
  int64_t line = 1;  // where the row begins
};

struct CsvTable {
  std::vector<std::string> header;
  std::vector<CsvRow> rows;
  int64_t total = 0;  // rows that were read, bad ones included
};

struct CsvOptions {
  char separator = ',';
  int64_t limit = 0;   // at most this many rows; 0 = all
  bool count = false;  // read on behind the limit, only to count
};

// The separator of a header line: the one that occurs most of tab, comma and semicolon; `otherwise` when none does.
char guess_separator(std::string_view text, char otherwise);

// Rows with the wrong number of fields and broken quotes become problems of
// `file`; lines without a byte are skipped. `text` is UTF-8 without a byte-order mark.
CsvTable read_csv(std::string_view text, const CsvOptions& options, const std::string& file, Problems& problems);

}  // namespace prentice
