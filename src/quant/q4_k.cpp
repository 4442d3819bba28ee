// Q4_K and Q5_K: 256 values in 8 groups of 32, each with a 6-bit scale and a 6-bit minimum.
#include "quant/batch.h"

namespace prentice {

namespace {

constexpr int kElements = 256, kGroup = 32, kGroups = kElements / kGroup;

struct BlockQ4K {
  uint16_t d, dmin;
  uint8_t scales[12];
  uint8_t low[128];  // of each 64 elements: the first 32 in low nibbles, the next in high ones
};
struct BlockQ5K {
  uint16_t d, dmin;
  uint8_t scales[12];
  uint8_t high[32];  // bit g of byte l: the fifth bit of element l of group g
  uint8_t low[128];
};
static_assert(sizeof(BlockQ4K) == 144 && sizeof(BlockQ5K) == 176);

void pack_low(const uint8_t* codes, uint8_t* low) {
  for (int j = 0; j < kElements; j += 64, low += 32, codes += 64) {
    for (int l = 0; l < 32; ++l) low[l] = static_cast<uint8_t>((codes[l] & 15) | (codes[l + 32] & 15) << 4);
  }
}

void pack(const uint8_t* codes, BlockQ4K& block) { pack_low(codes, block.low); }

void pack(const uint8_t* codes, BlockQ5K& block) {
  pack_low(codes, block.low);
  std::memset(block.high, 0, sizeof block.high);
  for (int g = 0; g < kGroups; ++g) {
    for (int l = 0; l < kGroup; ++l) block.high[l] |= static_cast<uint8_t>((codes[g * kGroup + l] >> 4) << g);
  }
}

// The block's two steps and twelve bytes of codes from the groups' scales and minimums, which become what the file
// will say they are.
template <class Block>
void settle(float* scales, float* minimums, const float* sums, Block& block) {
  uint8_t scale_codes[kGroups], minimum_codes[kGroups];
  float d = step_codes(scales, sums, kGroups, 63, true, scale_codes);
  float dmin = step_codes(minimums, sums, kGroups, 63, true, minimum_codes);
  block.d = f32_to_f16(d), block.dmin = f32_to_f16(dmin);
  pack_scales(scale_codes, minimum_codes, block.scales);
  // A negative scale, which weights that are far apart can give, has another code in six bits.
  unpack_scales(block.scales, scale_codes, minimum_codes);
  d = load_f16(block.d), dmin = load_f16(block.dmin);
  for (int g = 0; g < kGroups; ++g) {
    scales[g] = d * static_cast<float>(scale_codes[g]);
    minimums[g] = dmin * static_cast<float>(minimum_codes[g]);
  }
}

template <class Block, int kLargest>
void encode(const SearchPath& path, const BlockBatch& batch, std::byte* out) {
  // The published settings of ggml for one type and the other.
  constexpr GridSearch kPlain = {kLargest, kLargest == 15 ? -1.0f : -0.5f, 0.1f, kLargest == 15 ? 20 : 15,
                                 false,    WeightRule::rms_plus_magnitude};
  constexpr GridSearch kWeighted = {kLargest, -0.9f, 0.05f, 36, false, WeightRule::given};
  BatchScratch<kGroup> scratch;
  float sums[kBatchValues / kGroup];
  const Groups groups = groups_of<kGroup>(batch, kElements);
  path.with_minimum(batch.weights != nullptr ? kWeighted : kPlain, groups, scratch.found());
  if (batch.weights != nullptr) sum_groups(groups, sums);
  auto* blocks = reinterpret_cast<Block*>(out);
  for (int64_t b = 0; b < batch.count; ++b) {
    const int64_t at = b * kGroups;
    settle(scratch.scales + at, scratch.minimums + at, batch.weights != nullptr ? sums + at : nullptr, blocks[b]);
  }
  path.snap(0, kLargest, groups, scratch.found());
  for (int64_t b = 0; b < batch.count; ++b) pack(scratch.codes + b * kElements, blocks[b]);
}

inline void unpack_codes(const BlockQ4K& block, int8_t* codes) {
  for (int j = 0; j < kElements / 64; ++j) {
    for (int l = 0; l < 32; ++l) codes[64 * j + l] = static_cast<int8_t>(block.low[32 * j + l] & 15);
    for (int l = 0; l < 32; ++l) codes[64 * j + 32 + l] = static_cast<int8_t>(block.low[32 * j + l] >> 4);
  }
}

inline void unpack_codes(const BlockQ5K& block, int8_t* codes) {
  for (int j = 0; j < kElements / 64; ++j) {
    for (int l = 0; l < 32; ++l) {
      codes[64 * j + l] = static_cast<int8_t>((block.low[32 * j + l] & 15) | (block.high[l] >> 2 * j & 1) << 4);
    }
    for (int l = 0; l < 32; ++l) {
      codes[64 * j + 32 + l] =
          static_cast<int8_t>(block.low[32 * j + l] >> 4 | (block.high[l] >> (2 * j + 1) & 1) << 4);
    }
  }
}

template <class Block>
PRENTICE_VECTORISED void unpack(const std::byte* bytes, int64_t, UnpackedBlocks& out) {
  const auto& block = *reinterpret_cast<const Block*>(bytes);
  uint8_t scales[kGroups], minimums[kGroups];
  unpack_scales(block.scales, scales, minimums);
  const float d = load_f16(block.d), dmin = load_f16(block.dmin);
  for (int g = 0; g < kGroups; ++g) {
    out.scales[g] = d * static_cast<float>(scales[g]);
    out.minimums[g] = dmin * static_cast<float>(minimums[g]);
  }
  unpack_codes(block, out.codes);
}

}  // namespace

const BlockType kQ4_K = {GgmlType::Q4_K, Spread::twice_block, 0, 2, encode<BlockQ4K, 15>, kGroup,
                         true,           unpack<BlockQ4K>};
const BlockType kQ5_K = {GgmlType::Q5_K, Spread::twice_block, 0, 2, encode<BlockQ5K, 31>, kGroup,
                         true,           unpack<BlockQ5K>};

}  // namespace prentice
