#include "quant/gguf_blocks.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <vector>

#include "core/error.h"
#include "core/parallel.h"
#include "io/half.h"
#include "quant/blocks.h"

namespace prentice {

namespace {

constexpr int64_t kGrain = 1 << 15;  // values a thread should at least get

void round_to(const float* values, int64_t count, double* out) { std::copy_n(values, count, out); }
void round_to(const float* values, int64_t count, at::BFloat16* out) {
  f32_to_bf16({values, static_cast<size_t>(count)}, {reinterpret_cast<uint16_t*>(out), static_cast<size_t>(count)});
}
void round_to(const float* values, int64_t count, at::Half* out) {
  f32_to_f16({values, static_cast<size_t>(count)}, {reinterpret_cast<uint16_t*>(out), static_cast<size_t>(count)});
}

template <class T>
void decode_all(const Tensor& bytes, const BlockType& type, Tensor& out) {
  const auto& info = ggml_type_info(type.type);
  const int64_t rows = out.size(0), columns = out.size(1), blocks = columns / info.block_elements;
  const auto* from = static_cast<const std::byte*>(bytes.const_data_ptr());
  T* to = out.mutable_data_ptr<T>();
  at::parallel_for(0, rows, std::max<int64_t>(1, kGrain / std::max<int64_t>(columns, 1)),
                   [&](int64_t row, int64_t end) {
                     std::vector<float> scratch(std::is_same_v<T, float> ? 0 : static_cast<size_t>(columns));
                     for (; row < end; ++row) {
                       const std::byte* row_bytes = from + row * blocks * info.block_bytes;
                       if constexpr (std::is_same_v<T, float>) {
                         decode_blocks(type, row_bytes, blocks, to + row * columns);
                       } else {
                         decode_blocks(type, row_bytes, blocks, scratch.data());
                         round_to(scratch.data(), columns, to + row * columns);
                       }
                     }
                   });
}

}  // namespace

bool is_held_in_blocks(GgmlType type) { return find_block_type(type) != nullptr; }

bool is_float(GgmlType type) { return type == GgmlType::F32 || type == GgmlType::F16 || type == GgmlType::BF16; }

int64_t gguf_row_bytes(int64_t columns, GgmlType type) {
  const auto& info = ggml_type_info(type);
  return columns / info.block_elements * info.block_bytes;
}

GgufBlocks make_gguf_blocks(int64_t rows, int64_t columns, GgmlType type, const at::TensorOptions& options) {
  return {.bytes = at::empty({rows, gguf_row_bytes(columns, type)}, options.dtype(at::kByte)),
          .block = type,
          .rows = rows,
          .columns = columns,
          .type = options.dtype().toScalarType()};
}

GgufBlocks rows_of(const GgufBlocks& blocks, int64_t first, int64_t count) {
  GgufBlocks part = blocks;
  part.bytes = blocks.bytes.narrow(0, first, count);
  part.rows = count;
  return part;
}

void decode_rows(const Tensor& bytes, GgmlType type, Tensor& out) {
  const BlockType& blocks = *find_block_type(type);
  switch (out.scalar_type()) {
    case at::kFloat:
      return decode_all<float>(bytes, blocks, out);
    case at::kDouble:
      return decode_all<double>(bytes, blocks, out);
    case at::kBFloat16:
      return decode_all<at::BFloat16>(bytes, blocks, out);
    case at::kHalf:
      return decode_all<at::Half>(bytes, blocks, out);
    default:
      fail(ExitCode::internal, "blocks are decoded into floating types");
  }
}

}  // namespace prentice
