// The type of each tensor of a GGUF file that is written, where the recipe has a word in it.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "io/gguf.h"

namespace prentice {

// The type a tensor gets when `wanted` is asked for: F32 for vectors and norms, the type of the first entry of `types`
// that names it (expression over the whole GGUF name, or its last part: attn_v), another where a row is no whole number
// of blocks (type_for_rows). Errors: `usage` for a bad entry.
GgmlType gguf_tensor_type(const std::string& gguf_name, const std::vector<int64_t>& shape, GgmlType wanted,
                          const std::map<std::string, std::string>& types);

}  // namespace prentice
