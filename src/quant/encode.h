// Types an export can write: f32 rows to bytes and back. The bytes of blocks are those of ggml's reference quantizers
// (ggml-quants.c); F32, F16 and BF16 are the same bytes in safetensors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "io/gguf.h"
#include "io/safetensors.h"

namespace prentice {

// `values` are whole rows; appends their bytes to `out`. Types: F32, F16, BF16, Q8_0, Q6_K .. Q2_K, Q5_1 .. Q4_0.
// `importance`: the mean square that each column is multiplied by, where it is known; all types of blocks but Q8_0 use
// it. Errors: `model` when a value is too large for the type; `numerical` when blocks should hold one that is not
// finite.
void encode(std::span<const float> values, GgmlType type, std::vector<std::byte>& out,
            std::span<const float> importance = {});
// The same to where `out` is, which is as long as they are.
void encode(std::span<const float> values, GgmlType type, std::span<std::byte> out,
            std::span<const float> importance = {});
size_t encoded_bytes(size_t values, GgmlType type);
// The same for `rows` of `columns` that read(first, count, values) makes, some at a time and not in order: each thread
// encodes what it has read while its core still has it. They begin at multiples of `multiple` rows.
using ReadRows = std::function<void(int64_t first, int64_t count, std::span<float> values)>;
void encode_rows(int64_t rows, int64_t columns, int64_t multiple, const ReadRows& read, GgmlType type,
                 std::span<std::byte> out, std::span<const float> importance = {});
// The inverse; `out` has as many elements as the bytes hold.
void decode(std::span<const std::byte> bytes, GgmlType type, std::span<float> out);

// The largest |value - decode(encode(value))| that rounding explains, for each element of whole rows. Blocks without
// importance: half a step of the element's group, and what the search and the rounding of steps add. `of_importance`:
// columns without importance may lose everything, so that it is the magnitude of the group.
void rounding_bounds(std::span<const float> values, GgmlType type, std::span<float> bounds, bool of_importance = false);

DType dtype_of(GgmlType type);  // F32, F16, BF16
// "f32", "bf16", "f16" of a recipe. Errors: `usage`.
GgmlType element_type(std::string_view recipe_word);

}  // namespace prentice
