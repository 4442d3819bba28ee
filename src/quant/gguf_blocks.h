// A matrix in the blocks of a GGUF file, in the very bytes that lie there: how the layers of such a base are held.
#pragma once

#include <cstdint>

#include "core/tensor.h"
#include "io/gguf.h"

namespace prentice {

struct GgufBlocks {
  Tensor bytes;  // [rows, bytes of a row] u8
  GgmlType block = GgmlType::Q8_0;
  int64_t rows = 0, columns = 0;
  at::ScalarType type = at::kFloat;  // that products take it in

  int64_t numel() const { return rows * columns; }
  at::TensorOptions options() const { return bytes.options().dtype(type); }
};

// Whether a matrix stored so is held so: the types of blocks that are decoded here.
bool is_held_in_blocks(GgmlType);
bool is_float(GgmlType);  // F32, F16 or BF16

// Room for a matrix, values not yet set; `columns` are whole blocks. `options`: the type of products, and the device,
// which may be `meta`.
GgufBlocks make_gguf_blocks(int64_t rows, int64_t columns, GgmlType, const at::TensorOptions& options);
// Bytes of one row.
int64_t gguf_row_bytes(int64_t columns, GgmlType);
// Rows [first, first + count), of the same memory.
GgufBlocks rows_of(const GgufBlocks&, int64_t first, int64_t count);

// The matrix that `bytes` [rows, bytes of a row], contiguous and on the CPU, stands for, into the contiguous `out`
// [rows, columns] of a floating type: computed in f32 and rounded once.
void decode_rows(const Tensor& bytes, GgmlType, Tensor& out);

}  // namespace prentice
