// A whole model as one GGUF file that llama.cpp and Ollama load.
#pragma once

#include <filesystem>

#include "adapter/qat.h"
#include "export/base_rows.h"
#include "export/delta_survival.h"
#include "export/gguf_metadata.h"
#include "export/resume_options.h"
#include "export/weight_source.h"

namespace prentice {

// How one GGUF tensor is made.
struct GgufTensorPlan {
  GgufTensorInfo info;
  std::vector<size_t> sources;  // indices into WeightSource::tensors(); more than one: they are its rows, in order
  std::function<int64_t(int64_t)> row_order;  // GGUF row -> source row
  int64_t rows_together = 1;                  // rows that are reordered among themselves
  float offset = 0;                           // added to every value
  std::vector<float> importance;              // of its columns; empty: not known
  std::vector<float> constants;               // the values themselves, where there is no source (rope factors)
};
std::vector<GgufTensorPlan> plan_gguf_tensors(const WeightSource&, const ModelSpec&, const GgufOptions&);
// What the file of this type holds of each matrix, by Hugging Face tensor name; those that stay F32 are left out. No
// importance is known.
ServedTypes served_types(const ModelSpec&, FileType, const std::map<std::string, std::string>& types);
// The bytes of the tensors of such a file.
uint64_t gguf_model_bytes(const ModelSpec&, FileType, const std::map<std::string, std::string>& types,
                          bool has_importance);

// Calls use(values) for blocks of rows as GGUF wants them, in order, before they are encoded.
void for_each_gguf_block(const WeightSource&, const GgufTensorPlan&,
                         const std::function<void(std::span<const float> values)>& use);

// The same with the rows as they are without the adapter; `base` is empty where it changes nothing.
using UseChange = std::function<void(std::span<const float> values, std::span<const float> base)>;
void for_each_gguf_change(const WeightSource&, BaseRows&, const GgufTensorPlan&, const UseChange&);
// Of an adapter that adds to its base.
void for_each_gguf_change(const WeightSource&, const GgufTensorPlan&, const UseChange&);

// Creates the file `path`, tensor by tensor, or goes on with it; what its blocks leave of an adapter's update. Errors:
// `model` when the model cannot be expressed (the reason is named) or the importance matrix is another model's;
// `storage`.
DeltaSurvival write_gguf(const WeightSource&, const ModelSpec&, const Tokenizer&, const std::filesystem::path& path,
                         const GgufOptions&, const ResumeOptions& = {});

}  // namespace prentice
