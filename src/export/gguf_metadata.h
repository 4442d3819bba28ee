// The key-value part of a GGUF model: architecture keys from the spec, tokenizer tables, chat template,
// named as llama.cpp's gguf-py names them (constants.py).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "export/gguf_mix.h"
#include "io/gguf.h"
#include "io/importance_matrix.h"
#include "model/spec.h"
#include "text/tokenizer.h"

namespace prentice {

struct GgufOptions {
  FileType type = FileType::F16;
  std::string name;                              // general.name
  std::map<std::string, std::string> types;      // per tensor: see gguf_tensor_type
  std::optional<std::string> chat_template;      // nullopt: the tokenizer's own, if it has one
  std::optional<int32_t> stop_id;                // what ends the model's turn; nullopt: the tokenizer's EOS
  const ImportanceMatrix* importance = nullptr;  // what blocks weight their columns by; of this model
  std::string importance_file;                   // where it came from
  std::map<std::string, std::string> origin;     // further keys, last: what the file was made of
};

// All keys in the order in which llama.cpp's converter writes them. Errors: `model` for a tokenizer that llama.cpp
// cannot reproduce.
std::vector<GgufEntry> gguf_metadata(const ModelSpec& spec, const Tokenizer& tokenizer, const GgufOptions& options);

// tokenizer.tables() filled up to `rows` with unused [PAD] entries. Errors: `model` when the vocabulary is larger than
// the embedding or two entries are the same text.
TokenizerTables padded_tables(const Tokenizer& tokenizer, int64_t rows);

}  // namespace prentice
