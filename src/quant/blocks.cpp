#include "quant/blocks.h"

#include <algorithm>
#include <array>

namespace prentice {

const BlockType* find_block_type(GgmlType type) {
  static const std::array kTypes = {&kQ8_0, &kQ4_0, &kQ4_1, &kQ5_0, &kQ5_1, &kQ2_K, &kQ3_K, &kQ4_K, &kQ5_K, &kQ6_K};
  const auto found = std::ranges::find(kTypes, type, [](const BlockType* entry) { return entry->type; });
  return found == kTypes.end() ? nullptr : *found;
}

}  // namespace prentice
