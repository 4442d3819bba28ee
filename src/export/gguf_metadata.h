// The key-value part of a GGUF model: architecture keys from the spec, tokenizer tables, chat template
// (formats 2.3, 2.5, 2.11).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "io/gguf.h"
#include "model/spec.h"
#include "text/tokenizer.h"

namespace prentice {

struct GgufOptions {
  GgmlType type = GgmlType::F16;
  std::string name;                               // general.name
  std::map<std::string, std::string> types;       // per tensor: see gguf_tensor_type
  std::optional<std::string> chat_template;       // nullopt: the tokenizer's own, if it has one
  std::optional<int32_t> stop_id;                 // what ends the model's turn; nullopt: the tokenizer's EOS
  std::map<std::string, std::string> provenance;  // further string keys, for instance general.license
};

// Refuses what llama.cpp would load and compute differently. Errors: `model`, with the reason.
void check_gguf_can_express(const ModelSpec& spec);
// What llama.cpp computes differently in some uses, one sentence each.
std::vector<std::string> gguf_warnings(const ModelSpec& spec);
// The longest context in which llama.cpp computes what the model does.
int64_t gguf_context(const ModelSpec& spec);

// All keys in the order of formats 2.11. Errors: `model` for a tokenizer that llama.cpp cannot reproduce.
std::vector<GgufEntry> gguf_metadata(const ModelSpec& spec, const Tokenizer& tokenizer, const GgufOptions& options);

// tokenizer.tables() filled up to `rows` with unused [PAD] entries. Errors: `model` when the vocabulary is larger than
// the embedding or two entries are the same text.
TokenizerTables padded_tables(const Tokenizer& tokenizer, int64_t rows);

// Divisors of the rotary frequencies that make llama3 scaling, [rotary_dim / 2]; empty for every other kind.
std::vector<float> rope_divisors(const RopeSpec& rope);

}  // namespace prentice
