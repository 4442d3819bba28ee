// The block types of GGUF (ggml-common.h), one entry each: its bytes from values, its values from bytes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "io/gguf.h"
#include "quant/search.h"

namespace prentice {

// Blocks are encoded in batches of this many values, whose scratch space lies on the stack.
inline constexpr int64_t kBatchValues = 4096;

// What importance weights are spread with: weight = importance * sqrt(spread + value^2), spread the mean square of the
// row, of the block, or twice that; `none`: the importance itself is the weight; `ignored`: the type has no use for it.
enum class Spread { ignored, none, row, block, twice_block };

struct BlockBatch {
  const float* values;   // [count * elements of a block]
  const float* weights;  // the same, or nullptr: no importance is known
  int64_t count;         // blocks
};

// The codes of at most kUnpacked values and what they stand for: value = scale * code - minimum, group by group.
inline constexpr int kUnpacked = 256;
struct UnpackedBlocks {
  alignas(64) int8_t codes[kUnpacked];
  alignas(64) float scales[kUnpacked / 16];
  alignas(64) float minimums[kUnpacked / 16];  // not set for types that have none
};

struct BlockType {
  GgmlType type;
  Spread spread;
  int scale_at, minimum_at;  // byte of a block where its f16 step stands, and its step of minimums; -1: none
  // count * elements <= kBatchValues.
  void (*encode)(const SearchPath&, const BlockBatch&, std::byte* out);
  int group;         // values that share a scale: 16 or 32
  bool has_minimum;  // else all minimums are 0
  // `count` blocks of together at most kUnpacked values.
  void (*unpack)(const std::byte* bytes, int64_t count, UnpackedBlocks& out);
};

// count * elements values.
void decode_blocks(const BlockType&, const std::byte* bytes, int64_t count, float* out);

const BlockType* find_block_type(GgmlType);  // nullptr: not a type that is encoded in blocks here

// Each family of types is a file.
extern const BlockType kQ8_0, kQ4_0, kQ4_1, kQ5_0, kQ5_1, kQ2_K, kQ3_K, kQ4_K, kQ5_K, kQ6_K;

}  // namespace prentice
