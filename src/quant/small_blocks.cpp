// The types of 32-value blocks with one scale: Q4_0 and Q5_0 around zero, Q4_1 and Q5_1 from a minimum, Q8_0.
#include <type_traits>

#include "quant/batch.h"

namespace prentice {

namespace {

constexpr int kElements = 32;

struct BlockQ40 {
  uint16_t d;
  uint8_t low[16];  // element j in the low nibble of byte j, j + 16 in the high one
};
struct BlockQ41 {
  uint16_t d, m;
  uint8_t low[16];
};
struct BlockQ50 {
  uint16_t d;
  uint8_t high[4];  // bit j: the fifth bit of element j
  uint8_t low[16];
};
struct BlockQ51 {
  uint16_t d, m;
  uint8_t high[4];
  uint8_t low[16];
};
struct BlockQ80 {
  uint16_t d;
  int8_t codes[32];
};
static_assert(sizeof(BlockQ40) == 18 && sizeof(BlockQ41) == 20 && sizeof(BlockQ50) == 22 && sizeof(BlockQ51) == 24 &&
              sizeof(BlockQ80) == 34);

template <class Block>
constexpr bool kHasMinimum = requires(Block block) {
  block.m;
};
template <class Block>
constexpr bool kHasFifthBits = requires(Block block) {
  block.high;
};

template <class Block>
void pack(const uint8_t* codes, Block& block) {
  for (int j = 0; j < 16; ++j) block.low[j] = static_cast<uint8_t>((codes[j] & 15) | codes[j + 16] << 4);
  if constexpr (kHasFifthBits<Block>) {
    uint32_t high = 0;
    for (int j = 0; j < kElements; ++j) high |= uint32_t{codes[j] >> 4 & 1u} << j;
    std::memcpy(block.high, &high, sizeof high);
  }
}

template <class Block>
void encode(const SearchPath& path, const BlockBatch& batch, std::byte* out) {
  constexpr int kCodes = kHasFifthBits<Block> ? 32 : 16;
  constexpr GridSearch kWeighted = {kCodes - 1, -0.9f, 0.05f, 36, false, WeightRule::given};
  BatchScratch<kElements> scratch;
  const Groups groups = groups_of<kElements>(batch, kElements);
  const FoundGrids found = scratch.found();
  if constexpr (kHasMinimum<Block>) {
    if (batch.weights != nullptr)
      path.with_minimum(kWeighted, groups, found);
    else
      path.range(kCodes - 1, !kHasFifthBits<Block>, groups, found);
  } else {
    if (batch.weights != nullptr)
      path.symmetric(kCodes / 2, WeightRule::given, groups, found);
    else
      path.extreme(kCodes / 2, groups, found);
  }
  auto* blocks = reinterpret_cast<Block*>(out);
  for (int64_t b = 0; b < batch.count; ++b) {
    blocks[b].d = f32_to_f16(scratch.scales[b]);
    if constexpr (kHasMinimum<Block>) blocks[b].m = f32_to_f16(-scratch.minimums[b]);
    pack(scratch.codes + b * kElements, blocks[b]);
  }
}

template <class Block>
inline void unpack_codes(const Block& block, int8_t* codes) {
  constexpr int kMiddle = kHasMinimum<Block> ? 0 : kHasFifthBits<Block> ? 16 : 8;
  for (int j = 0; j < 16; ++j) codes[j] = static_cast<int8_t>((block.low[j] & 15) - kMiddle);
  for (int j = 0; j < 16; ++j) codes[j + 16] = static_cast<int8_t>((block.low[j] >> 4) - kMiddle);
  if constexpr (kHasFifthBits<Block>) {
    uint32_t high = 0;
    std::memcpy(&high, block.high, sizeof high);
    for (int j = 0; j < kElements; ++j) codes[j] = static_cast<int8_t>(codes[j] + ((high >> j & 1) << 4));
  }
}

template <class Block>
PRENTICE_VECTORISED void unpack(const std::byte* bytes, int64_t count, UnpackedBlocks& out) {
  const auto* blocks = reinterpret_cast<const Block*>(bytes);
  for (int64_t b = 0; b < count; ++b) {
    out.scales[b] = load_f16(blocks[b].d);
    if constexpr (kHasMinimum<Block>) out.minimums[b] = -load_f16(blocks[b].m);
    unpack_codes(blocks[b], out.codes + b * kElements);
  }
}

void encode_q8(const SearchPath& path, const BlockBatch& batch, std::byte* out) {
  BatchScratch<kElements> scratch;
  path.rounded(groups_of<kElements>(batch, kElements), scratch.found());
  auto* blocks = reinterpret_cast<BlockQ80*>(out);
  for (int64_t b = 0; b < batch.count; ++b) {
    blocks[b].d = f32_to_f16(scratch.scales[b]);
    std::memcpy(blocks[b].codes, scratch.codes + b * kElements, kElements);
  }
}

PRENTICE_VECTORISED void unpack_q8(const std::byte* bytes, int64_t count, UnpackedBlocks& out) {
  const auto* blocks = reinterpret_cast<const BlockQ80*>(bytes);
  for (int64_t b = 0; b < count; ++b) {
    out.scales[b] = load_f16(blocks[b].d);
    std::memcpy(out.codes + b * kElements, blocks[b].codes, kElements);
  }
}

}  // namespace

const BlockType kQ4_0 = {GgmlType::Q4_0, Spread::row, 0, -1, encode<BlockQ40>, kElements, false, unpack<BlockQ40>};
const BlockType kQ4_1 = {GgmlType::Q4_1, Spread::row, 0, 2, encode<BlockQ41>, kElements, true, unpack<BlockQ41>};
const BlockType kQ5_0 = {GgmlType::Q5_0, Spread::row, 0, -1, encode<BlockQ50>, kElements, false, unpack<BlockQ50>};
const BlockType kQ5_1 = {GgmlType::Q5_1, Spread::row, 0, 2, encode<BlockQ51>, kElements, true, unpack<BlockQ51>};
const BlockType kQ8_0 = {GgmlType::Q8_0, Spread::ignored, 0, -1, encode_q8, kElements, false, unpack_q8};

}  // namespace prentice
