// A merged Hugging Face folder: weights in one type, config.json, and the tokenizer's files byte for byte.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "export/weight_source.h"
#include "io/gguf.h"
#include "io/safetensors.h"

namespace prentice {

struct HfFolderOptions {
  GgmlType type = GgmlType::BF16;  // F32, F16 or BF16
  uint64_t max_shard_bytes = kMaxShardBytes;
  std::optional<std::string> chat_template;  // written as chat_template.jinja; nullopt: the files as they are
};

// config.json as it was read, but for the weights' type, the vocabulary's size and a quantization that is gone.
Json exported_config(const ModelSpec& spec, GgmlType type);

// Files of `folder` that belong to the tokenizer, its template, generation and licence; names, sorted.
std::vector<std::string> companion_files(const std::filesystem::path& folder);

// Fills the existing folder `out`. `companions` is the folder whose tokenizer and generation files are copied. Tensor
// by tensor; shards as transformers makes them. Errors: `storage`; `model` for a value that F16 cannot hold.
void write_hf_folder(const WeightSource&, const ModelSpec&, const std::filesystem::path& companions,
                     const std::filesystem::path& out, const HfFolderOptions&);

}  // namespace prentice
