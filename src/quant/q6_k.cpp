// Q6_K: 256 values in 16 groups of 16, each with a signed 8-bit scale.
#include "quant/batch.h"

namespace prentice {

namespace {

constexpr int kElements = 256, kGroup = 16, kGroups = kElements / kGroup;

struct BlockQ6K {
  uint8_t low[128];  // of each 128 elements: l and l + 64 in the nibbles of byte l, for l below 64
  uint8_t high[64];  // of each 128 elements: the upper two bits of l, l + 32, l + 64 and l + 96 in byte l
  int8_t scales[kGroups];
  uint16_t d;
};
static_assert(sizeof(BlockQ6K) == 210);

void pack(const uint8_t* codes, BlockQ6K& block) {
  for (int half = 0; half < 2; ++half, codes += 128) {
    uint8_t *low = block.low + half * 64, *high = block.high + half * 32;
    for (int l = 0; l < 64; ++l) low[l] = static_cast<uint8_t>((codes[l] & 15) | codes[l + 64] << 4);
    for (int l = 0; l < 32; ++l) {
      high[l] = static_cast<uint8_t>(codes[l] >> 4 | codes[l + 32] >> 4 << 2 | codes[l + 64] >> 4 << 4 |
                                     codes[l + 96] >> 4 << 6);
    }
  }
}

// False for a block of zeros, which is zero bytes.
bool settle(float* scales, BlockQ6K& block) {
  const float extreme = extreme_of(scales, kGroups);
  if (std::fabs(extreme) < kNothing) return false;
  const float inverse = -128.0f / extreme;
  block.d = f32_to_f16(1.0f / inverse);
  const float d = load_f16(block.d);
  for (int g = 0; g < kGroups; ++g) {
    const int code = nearest_int(inverse * scales[g]);
    block.scales[g] = static_cast<int8_t>(code > 127 ? 127 : code);
    scales[g] = d * static_cast<float>(block.scales[g]);
  }
  return true;
}

void encode(const SearchPath& path, const BlockBatch& batch, std::byte* out) {
  BatchScratch<kGroup> scratch;
  const Groups groups = groups_of<kGroup>(batch, kElements);
  path.symmetric(32, batch.weights != nullptr ? WeightRule::given : WeightRule::square, groups, scratch.found());
  auto* blocks = reinterpret_cast<BlockQ6K*>(out);
  bool kept[kBatchValues / kElements];
  for (int64_t b = 0; b < batch.count; ++b) kept[b] = settle(scratch.scales + b * kGroups, blocks[b]);
  path.snap(-32, 31, groups, scratch.found());
  for (int64_t b = 0; b < batch.count; ++b) {
    if (kept[b])
      pack(scratch.codes + b * kElements, blocks[b]);
    else
      std::memset(&blocks[b], 0, sizeof blocks[b]);
  }
}

inline void unpack_codes(const BlockQ6K& block, int8_t* codes) {
  for (int half = 0; half < 2; ++half, codes += 128) {
    const uint8_t *low = block.low + half * 64, *high = block.high + half * 32;
    for (int l = 0; l < 32; ++l) {
      codes[l] = static_cast<int8_t>(((low[l] & 15) | (high[l] & 3) << 4) - 32);
      codes[l + 32] = static_cast<int8_t>(((low[l + 32] & 15) | (high[l] >> 2 & 3) << 4) - 32);
      codes[l + 64] = static_cast<int8_t>((low[l] >> 4 | (high[l] >> 4 & 3) << 4) - 32);
      codes[l + 96] = static_cast<int8_t>((low[l + 32] >> 4 | high[l] >> 6 << 4) - 32);
    }
  }
}

PRENTICE_VECTORISED void unpack(const std::byte* bytes, int64_t, UnpackedBlocks& out) {
  const auto& block = *reinterpret_cast<const BlockQ6K*>(bytes);
  const float d = load_f16(block.d);
  for (int g = 0; g < kGroups; ++g) out.scales[g] = d * static_cast<float>(block.scales[g]);
  unpack_codes(block, out.codes);
}

}  // namespace

const BlockType kQ6_K = {GgmlType::Q6_K, Spread::none, 208, -1, encode, kGroup, false, unpack};

}  // namespace prentice
