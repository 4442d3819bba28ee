#include "proof/code_ranges.h"

#include <algorithm>
#include <optional>

#include "quant/encode.h"

namespace prentice {

namespace {

// Where a block keeps the codes of its values, all bits of them, and how many codes there are.
struct Layout {
  size_t begin, end;
  int codes;
  std::byte lowest = std::byte{0}, highest = std::byte{0xff};  // in all of these bytes
};

std::optional<Layout> layout_of(GgmlType type) {
  switch (type) {
    case GgmlType::Q4_0:
      return Layout{2, 18, 16};
    case GgmlType::Q4_1:
      return Layout{4, 20, 16};
    case GgmlType::Q5_0:
      return Layout{2, 22, 32};
    case GgmlType::Q5_1:
      return Layout{4, 24, 32};
    case GgmlType::Q8_0:
      return Layout{2, 34, 256, std::byte{0x80}, std::byte{0x7f}};
    case GgmlType::Q2_K:
      return Layout{16, 80, 4};
    case GgmlType::Q3_K:
      return Layout{0, 96, 8};
    case GgmlType::Q4_K:
      return Layout{16, 144, 16};
    case GgmlType::Q5_K:
      return Layout{16, 176, 32};
    case GgmlType::Q6_K:
      return Layout{0, 192, 64};
    default:
      return std::nullopt;
  }
}

}  // namespace

bool CodeRanges::read(GgmlType type, std::span<const std::byte> stored) {
  lowest_.clear(), highest_.clear();
  const auto layout = layout_of(type);
  if (!layout) return false;
  const auto& info = ggml_type_info(type);
  const size_t block_bytes = info.block_bytes;
  bytes_.assign(stored.begin(), stored.end());
  const auto read_all = [&](std::byte code, std::vector<float>& values) {
    for (size_t block = 0; block < bytes_.size(); block += block_bytes)
      std::ranges::fill(std::span(bytes_).subspan(block + layout->begin, layout->end - layout->begin), code);
    values.resize(bytes_.size() / block_bytes * info.block_elements);
    decode(bytes_, type, values);
  };
  read_all(layout->lowest, lowest_);
  read_all(layout->highest, highest_);
  codes_ = layout->codes;
  return true;
}

}  // namespace prentice
