// A merged Hugging Face folder: weights in one type, config.json, and the tokenizer's files.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "export/resume_options.h"
#include "export/weight_source.h"
#include "io/gguf.h"
#include "io/safetensors.h"
#include "quant/nf4.h"

namespace prentice {

// Whole files by name.
using FileTexts = std::map<std::string, std::string>;

struct HfFolderOptions {
  GgmlType type = GgmlType::BF16;  // F32, F16 or BF16
  bool nf4 = false;                // the layers' weights in four bits, as bitsandbytes stores them; the rest in `type`
  uint64_t max_shard_bytes = kMaxShardBytes;
  FileTexts own_files;                        // in place of the companions of these names, or beside them
  std::map<std::string, std::string> origin;  // metadata of every shard: what it was made of
};

// config.json as it was read, but for the weights' type, the vocabulary's size and a quantization that is gone or new.
Json exported_config(const ModelSpec& spec, GgmlType type, bool nf4 = false);
// What `export.merged` means for a model: f32, bf16, f16 or nf4. Errors: `usage` for another word.
HfFolderOptions merged_options(const ModelSpec& spec, std::string_view merged);
// The type that a model's own files have, by its config.json: F32, F16, or BF16 where it does not say.
GgmlType own_type(const ModelSpec& spec);

// Bytes of the weights of such a folder, which is what a disk must have room for.
uint64_t hf_folder_bytes(const ModelSpec&, const HfFolderOptions&);

// Tensor `index` of the source, whole, in NF4 with nested scales.
Nf4 encoded_rows(const WeightSource&, size_t index);

// Files of `folder` that belong to the tokenizer, its template, generation and licence; names, sorted.
std::vector<std::string> companion_files(const std::filesystem::path& folder);

// Copies the companion files of `folder` byte for byte into the existing folder `out`; `own` is written in place of
// those of its names, or beside them. Errors: `storage`.
void write_companions(const std::filesystem::path& folder, const FileTexts& own, const std::filesystem::path& out);

// Fills the existing folder `out`, which holds nothing, or what `resume` goes on from. `companions` is the folder whose
// tokenizer and generation files are copied. Tensor by tensor; shards as transformers makes them. Errors: `storage`;
// `model` for a value that F16 cannot hold.
void write_hf_folder(const WeightSource&, const ModelSpec&, const std::filesystem::path& companions,
                     const std::filesystem::path& out, const HfFolderOptions&, const ResumeOptions& resume = {});

}  // namespace prentice
