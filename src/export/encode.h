// Element types an export can write: f32 rows to bytes and back. The bytes are those of ggml's reference quantizers
// (ggml-quants.c, quantize_row_*_ref); F32, F16 and BF16 are the same bytes in safetensors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "io/gguf.h"
#include "io/safetensors.h"

namespace prentice {

inline constexpr int64_t kQ8BlockElements = 32;
inline constexpr int64_t kQ8BlockBytes = 34;

// `values` are whole rows; appends their bytes to `out`. Types: F32, F16, BF16, Q8_0. Errors: `model` when a finite
// value becomes infinite in F16.
void encode(std::span<const float> values, GgmlType type, std::vector<std::byte>& out);
// The inverse; `out` has as many elements as the bytes hold.
void decode(std::span<const std::byte> bytes, GgmlType type, std::span<float> out);

// The largest |value - decode(encode(value))| that rounding explains, for each element of whole rows (Q8_0: of its
// block of 32).
void rounding_bounds(std::span<const float> values, GgmlType type, std::span<float> bounds);

DType dtype_of(GgmlType type);  // F32, F16, BF16
// "f32", "bf16", "f16" of a recipe. Errors: `usage`.
GgmlType element_type(std::string_view recipe_word);

}  // namespace prentice
