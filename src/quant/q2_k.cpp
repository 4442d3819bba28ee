// Q2_K: 256 values in 16 groups of 16, each with a 4-bit scale and a 4-bit minimum. Q3_K: the same groups with a signed
// 6-bit scale and no minimum; its third bits lie apart.
#include "quant/batch.h"

namespace prentice {

namespace {

constexpr int kElements = 256, kGroup = 16, kGroups = kElements / kGroup;

struct BlockQ2K {
  uint8_t scales[kGroups];  // scale in the low nibble, minimum in the high one
  uint8_t low[64];
  uint16_t d, dmin;
};
struct BlockQ3K {
  uint8_t high[32];  // bit j / 32 of byte j % 32: the third bit of element j
  uint8_t low[64];
  uint8_t scales[12];
  uint16_t d;
};
static_assert(sizeof(BlockQ2K) == 84 && sizeof(BlockQ3K) == 110);

// Of each 128 elements byte l holds elements l, l + 32, l + 64 and l + 96, two bits each.
void pack_low(const uint8_t* codes, uint8_t* low) {
  for (int j = 0; j < kElements; j += 128, low += 32, codes += 128) {
    for (int l = 0; l < 32; ++l) {
      low[l] = static_cast<uint8_t>((codes[l] & 3) | (codes[l + 32] & 3) << 2 | (codes[l + 64] & 3) << 4 |
                                    (codes[l + 96] & 3) << 6);
    }
  }
}

// From the groups' scales and minimums, which become what the file will say they are.
void settle(float* scales, float* minimums, const float* sums, BlockQ2K& block) {
  uint8_t scale_codes[kGroups], minimum_codes[kGroups];
  float d = step_codes(scales, sums, kGroups, 15, false, scale_codes);
  float dmin = step_codes(minimums, sums, kGroups, 15, false, minimum_codes);
  block.d = f32_to_f16(d), block.dmin = f32_to_f16(dmin);
  d = load_f16(block.d), dmin = load_f16(block.dmin);
  for (int g = 0; g < kGroups; ++g) {
    block.scales[g] = static_cast<uint8_t>(scale_codes[g] | minimum_codes[g] << 4);
    scales[g] = d * static_cast<float>(block.scales[g] & 15);
    minimums[g] = dmin * static_cast<float>(block.scales[g] >> 4);
  }
}

void encode_q2(const SearchPath& path, const BlockBatch& batch, std::byte* out) {
  constexpr GridSearch kPlain = {3, -0.5f, 0.1f, 15, true, WeightRule::magnitude};
  constexpr GridSearch kWeighted = {3, -0.9f, 0.05f, 36, false, WeightRule::given};
  BatchScratch<kGroup> scratch;
  float sums[kBatchValues / kGroup];
  const Groups groups = groups_of<kGroup>(batch, kElements);
  path.with_minimum(batch.weights != nullptr ? kWeighted : kPlain, groups, scratch.found());
  if (batch.weights != nullptr) sum_groups(groups, sums);
  auto* blocks = reinterpret_cast<BlockQ2K*>(out);
  for (int64_t b = 0; b < batch.count; ++b) {
    const int64_t at = b * kGroups;
    settle(scratch.scales + at, scratch.minimums + at, batch.weights != nullptr ? sums + at : nullptr, blocks[b]);
  }
  path.snap(0, 3, groups, scratch.found());
  for (int64_t b = 0; b < batch.count; ++b) pack_low(scratch.codes + b * kElements, blocks[b].low);
}

inline void unpack_low(const uint8_t* low, int8_t* codes) {
  for (int j = 0; j < kElements; j += 128, low += 32, codes += 128) {
    for (int k = 0; k < 4; ++k) {
      for (int l = 0; l < 32; ++l) codes[32 * k + l] = static_cast<int8_t>(low[l] >> 2 * k & 3);
    }
  }
}

PRENTICE_VECTORISED void unpack_q2(const std::byte* bytes, int64_t, UnpackedBlocks& out) {
  const auto& block = *reinterpret_cast<const BlockQ2K*>(bytes);
  const float d = load_f16(block.d), dmin = load_f16(block.dmin);
  for (int g = 0; g < kGroups; ++g) {
    out.scales[g] = d * static_cast<float>(block.scales[g] & 15);
    out.minimums[g] = dmin * static_cast<float>(block.scales[g] >> 4);
  }
  unpack_low(block.low, out.codes);
}

// Scales as codes 0 .. 63 around 32, on a grid fitted to them or spanned by the one of largest magnitude.
float signed_codes(const float* scales, const float* sums, uint8_t* codes) {
  if (sums != nullptr) {
    float step = 0;
    kPortablePath.symmetric(32, WeightRule::given, {scales, sums, 1, kGroups}, {&step, nullptr, codes});
    return step;
  }
  const float extreme = extreme_of(scales, kGroups);
  std::memset(codes, 0, kGroups);
  if (extreme == 0) return 0;
  const float inverse = -32.0f / extreme;
  for (int g = 0; g < kGroups; ++g) {
    const int code = nearest_int(inverse * scales[g]);
    codes[g] = static_cast<uint8_t>((code < -32 ? -32 : code > 31 ? 31 : code) + 32);
  }
  return 1.0f / inverse;
}

void pack_signed(const uint8_t* codes, uint8_t* out) {
  for (int j = 0; j < 4; ++j) {
    for (int k : {0, 4}) out[j + k] = static_cast<uint8_t>((codes[j + k] & 15) | (codes[j + k + 8] & 15) << 4);
    out[j + 8] =
        static_cast<uint8_t>(codes[j] >> 4 | codes[j + 4] >> 4 << 2 | codes[j + 8] >> 4 << 4 | codes[j + 12] >> 4 << 6);
  }
}
int unpack_signed(const uint8_t* packed, int group) {
  const int low = packed[group % 8] >> group / 8 * 4 & 15;
  return (low | (packed[8 + group % 4] >> group / 4 * 2 & 3) << 4) - 32;
}

void encode_q3(const SearchPath& path, const BlockBatch& batch, std::byte* out) {
  BatchScratch<kGroup> scratch;
  float sums[kBatchValues / kGroup];
  const Groups groups = groups_of<kGroup>(batch, kElements);
  if (batch.weights != nullptr) {
    path.symmetric(4, WeightRule::given, groups, scratch.found());
    sum_groups(groups, sums);
  } else {
    path.by_coordinates(4, groups, scratch.found());
  }
  auto* blocks = reinterpret_cast<BlockQ3K*>(out);
  for (int64_t b = 0; b < batch.count; ++b) {
    float* scales = scratch.scales + b * kGroups;
    uint8_t codes[kGroups];
    blocks[b].d = f32_to_f16(signed_codes(scales, batch.weights != nullptr ? sums + b * kGroups : nullptr, codes));
    pack_signed(codes, blocks[b].scales);
    const float d = load_f16(blocks[b].d);
    for (int g = 0; g < kGroups; ++g) scales[g] = d * static_cast<float>(unpack_signed(blocks[b].scales, g));
  }
  path.snap(-4, 3, groups, scratch.found());
  for (int64_t b = 0; b < batch.count; ++b) {
    const uint8_t* codes = scratch.codes + b * kElements;
    pack_low(codes, blocks[b].low);
    std::memset(blocks[b].high, 0, sizeof blocks[b].high);
    for (int i = 0; i < kElements; ++i) blocks[b].high[i % 32] |= static_cast<uint8_t>((codes[i] >> 2) << i / 32);
  }
}

// The third bit counts 4, and codes begin at -4.
inline void add_third(const uint8_t* high, int8_t* codes) {
  for (int k = 0; k < kElements / 32; ++k) {
    for (int l = 0; l < 32; ++l)
      codes[32 * k + l] = static_cast<int8_t>(codes[32 * k + l] + 4 * (high[l] >> k & 1) - 4);
  }
}

PRENTICE_VECTORISED void unpack_q3(const std::byte* bytes, int64_t, UnpackedBlocks& out) {
  const auto& block = *reinterpret_cast<const BlockQ3K*>(bytes);
  const float d = load_f16(block.d);
  for (int g = 0; g < kGroups; ++g) out.scales[g] = d * static_cast<float>(unpack_signed(block.scales, g));
  unpack_low(block.low, out.codes);
  add_third(block.high, out.codes);
}

}  // namespace

const BlockType kQ2_K = {GgmlType::Q2_K, Spread::block, 80, 82, encode_q2, kGroup, true, unpack_q2};
const BlockType kQ3_K = {GgmlType::Q3_K, Spread::twice_block, 108, -1, encode_q3, kGroup, false, unpack_q3};

}  // namespace prentice
