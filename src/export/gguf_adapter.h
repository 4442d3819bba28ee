// A PEFT adapter as a GGUF file that llama.cpp puts on the base model's GGUF (convert_lora_to_gguf.py).
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "adapter/peft_folder.h"
#include "io/gguf.h"
#include "model/model.h"

namespace prentice {

struct GgufAdapterOptions {
  GgmlType type = GgmlType::F32;              // F32, F16, BF16 or Q8_0 (F16 where a row is no whole number of blocks)
  std::string name;                           // general.name
  std::map<std::string, std::string> origin;  // further keys, last: what the file was made of
};

// Refuses what such a file cannot carry: magnitudes, modules saved whole, an adapter on either end of a tied model.
// `model` holds the adapter and may be on `meta`. Errors: `usage` with the reason and the way out; `model` when the
// base itself cannot be a GGUF model.
void check_gguf_adapter(const Model& model);
// The same of a PEFT folder, which must fit the spec.
void check_gguf_adapter(const std::filesystem::path& folder, const ModelSpec&);

// One tensor of the file.
struct GgufAdapterTensor {
  GgufTensorInfo info;
  std::function<Tensor()> values;  // [rows, columns] f32 as the file wants them
};
struct GgufAdapterPlan {
  // llama.cpp scales by alpha / rank: what a module's scale is beyond that is multiplied into its B.
  double alpha = 0;
  std::vector<GgufAdapterTensor> tensors;
};
GgufAdapterPlan plan_gguf_adapter(const PeftFolder&, const ModelSpec&, GgmlType type);

// Whether the GGUF file says that it is an adapter and no model. Errors: `model` for one that cannot be read.
bool is_gguf_adapter(const std::filesystem::path& file);

// Creates the file `path`. Errors: those of the check; `storage`.
void write_gguf_adapter(const std::filesystem::path& folder, const ModelSpec&, const std::filesystem::path& path,
                        const GgufAdapterOptions&);

}  // namespace prentice
