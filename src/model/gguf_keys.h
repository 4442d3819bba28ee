// The numbers of a model under their names in GGUF and in config.json: one table for writing such files and for reading
// them.
#pragma once

#include <string_view>

#include "model/spec.h"

namespace prentice {

struct GgufSize {
  std::string_view key;  // behind "ARCHITECTURE."
  int64_t ModelSpec::*member;
  std::string_view config;  // "" = no key of its own
  bool required;            // by llama.cpp's reader
};

inline constexpr GgufSize kGgufSizes[] = {
    {"vocab_size", &ModelSpec::vocab, "vocab_size", false},
    {"context_length", &ModelSpec::max_positions, "max_position_embeddings", true},
    {"embedding_length", &ModelSpec::hidden, "hidden_size", true},
    {"block_count", &ModelSpec::layers, "num_hidden_layers", true},
    {"feed_forward_length", &ModelSpec::feed_forward, "intermediate_size", true},
    {"attention.head_count", &ModelSpec::heads, "num_attention_heads", true},
    {"attention.head_count_kv", &ModelSpec::kv_heads, "num_key_value_heads", false},
    {"attention.key_length", &ModelSpec::head_dim, "head_dim", false},
    {"attention.value_length", &ModelSpec::head_dim, "", false},
};

inline constexpr std::string_view kGgufRopeDivisors = "rope_freqs.weight",
                                  kGgufLongFactors = "rope_factors_long.weight",
                                  kGgufShortFactors = "rope_factors_short.weight";

}  // namespace prentice
