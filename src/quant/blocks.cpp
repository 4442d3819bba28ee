#include "quant/blocks.h"

#include <algorithm>
#include <array>

#include "core/vectorised.h"

namespace prentice {

const BlockType* find_block_type(GgmlType type) {
  static const std::array kTypes = {&kQ8_0, &kQ4_0, &kQ4_1, &kQ5_0, &kQ5_1, &kQ2_K, &kQ3_K, &kQ4_K, &kQ5_K, &kQ6_K};
  const auto found = std::ranges::find(kTypes, type, [](const BlockType* entry) { return entry->type; });
  return found == kTypes.end() ? nullptr : *found;
}

namespace {

PRENTICE_VECTORISED void expand(const UnpackedBlocks& from, int64_t values, int64_t group, bool has_minimum,
                                float* out) {
  for (int64_t first = 0, g = 0; first < values; first += group, ++g) {
    const float scale = from.scales[g], minimum = has_minimum ? from.minimums[g] : 0.0f;
    for (int64_t i = first; i < first + group; ++i) out[i] = scale * static_cast<float>(from.codes[i]) - minimum;
  }
}

}  // namespace

void decode_blocks(const BlockType& type, const std::byte* bytes, int64_t count, float* out) {
  const auto& info = ggml_type_info(type.type);
  const int64_t most = kUnpacked / info.block_elements;
  UnpackedBlocks blocks;
  for (; count > 0; count -= most) {
    const int64_t now = std::min(count, most);
    type.unpack(bytes, now, blocks);
    expand(blocks, now * info.block_elements, type.group, type.has_minimum, out);
    bytes += now * info.block_bytes, out += now * info.block_elements;
  }
}

}  // namespace prentice
