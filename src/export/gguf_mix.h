// File types: which type each tensor of a GGUF file has when the file is "Q4_K_M" (llama.cpp, llama-quant.cpp).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "io/gguf.h"
#include "model/spec.h"

namespace prentice {

// Values of general.file_type (llama.h, llama_ftype).
// clang-format off
enum class FileType : uint32_t { F32 = 0, F16 = 1, Q4_0 = 2, Q8_0 = 7, Q2_K = 10, Q3_K_S = 11, Q3_K_M = 12,
  Q3_K_L = 13, Q4_K_S = 14, Q4_K_M = 15, Q5_K_S = 16, Q5_K_M = 17, Q6_K = 18, BF16 = 32 };
// clang-format on

FileType file_type_named(std::string_view word);  // "Q4_K_M". Errors: `usage`
std::string_view file_type_name(FileType);
std::vector<FileType> all_file_types();

// What the choice for a tensor depends on beside its name.
struct MixModel {
  int64_t layers = 0;
  int64_t heads_per_kv_head = 1;
  bool has_output = true;  // a head of its own
  bool is_70b = false;     // values with few heads are kept finer
  bool has_importance = false;
};
MixModel mix_model(const ModelSpec&, bool has_importance);

// The type a matrix is given, before its rows have a say.
GgmlType mixed_type(FileType, std::string_view gguf_name, const MixModel&);

// The next type that divides a row of so many columns: of 256-element types one of 32 that is no smaller, else F16.
GgmlType type_for_rows(GgmlType, int64_t columns);

}  // namespace prentice
