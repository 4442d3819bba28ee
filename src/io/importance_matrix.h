// Importance matrices of llama.cpp (tools/imatrix): the sum of squares of what enters each column of a weight,
// collected on some text. Read in both forms, written in GGUF's.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace prentice {

struct ImportanceEntry {
  std::vector<float> sums;  // over `count` rows, of each column's square
  float count = 0;

  std::vector<float> means() const;  // what columns are weighted by; all 1 where no row was seen
};

struct ImportanceMatrix {
  std::map<std::string, ImportanceEntry> entries;  // by the weight's GGUF name
  std::vector<std::string> datasets;
  uint32_t chunks = 0, chunk_size = 0;  // pieces of text, and tokens of one; 0: not known
  std::vector<std::string> rows;        // calibration_row_hash of each row; empty where another program wrote the file
};

// Names a row by its text: 16 digits of its SHA-256.
std::string calibration_row_hash(const std::string& text);

// Whether a path is named or begins as a file that read_importance reads.
bool is_importance_file(const std::filesystem::path&);

// Of either form. Errors: `usage` when missing; `model` when the file is damaged, holds a value that is not finite or
// negative, or several matrices in one weight.
ImportanceMatrix read_importance(const std::filesystem::path&);
// Creates the file. Errors: `storage`.
void write_importance(const ImportanceMatrix&, const std::filesystem::path&);

}  // namespace prentice
