// The one table from Hugging Face tensor names to GGUF's, and what changes on the way (gguf-py, tensor_mapping.py).
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "model/spec.h"

namespace prentice {

// "model.layers.3.self_attn.q_proj.weight" -> "blk.3.attn_q.weight", by what the module is to the spec. The norms of
// single heads have one name together. Errors: `model` for a tensor GGUF has no name for.
std::string gguf_name(const std::string& tensor, const ModelSpec& spec);

// Which row of the Hugging Face tensor stands at GGUF row r. The identity but for q and k of architectures that rotate
// neighbouring features: per head, GGUF row 2j is row j and 2j+1 is row j + E/2.
std::function<int64_t(int64_t)> gguf_row_order(const std::string& gguf_name, const ModelSpec& spec);

// What is added to the values: the norm offset, on norms of families that store w for (1 + w).
float gguf_offset(const std::string& gguf_name, const ModelSpec& spec);

}  // namespace prentice
