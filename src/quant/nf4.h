// NF4 (Dettmers et al. 2023, QLoRA): a matrix in four bits a value and a scale for each block of values, held in the
// very bytes of bitsandbytes. Nested, the scales are in eight bits themselves.
#pragma once

#include <cstdint>
#include <span>

#include "core/tensor.h"
#include "quant/nf4_code.h"

namespace prentice {

struct Nf4 {
  Tensor codes;               // [ceil(n / 2), 1] u8: the even value of a pair in the high bits
  Tensor absmax;              // [blocks] f32, the scales; nested u8, places in nf4_scale_map()
  Tensor nested_absmax;       // [ceil(blocks / kNestedBlock)] f32, the scales of those; undefined where not nested
  float offset = 0;           // nested: the mean of the scales, which was taken off them
  int64_t block = kNf4Block;  // blocks run over the matrix row by row and do not end with a row
  int64_t rows = 0, columns = 0;
  at::ScalarType type = at::kFloat;  // that products take it in

  int64_t numel() const { return rows * columns; }
  bool nested() const { return nested_absmax.defined(); }
  at::TensorOptions options() const { return codes.options().dtype(type); }
};

// Room for a matrix, values not yet set. `options`: the type of products, and the device, which may be `meta`.
Nf4 make_nf4(int64_t rows, int64_t columns, bool nested, const at::TensorOptions& options, int64_t block = kNf4Block);
// Bytes that it takes.
int64_t nf4_bytes(int64_t rows, int64_t columns, bool nested, int64_t block = kNf4Block);

// Fills `out` from values [rows, columns], of any floating type, contiguous and on the CPU: quantize_4bit of
// bitsandbytes. The same bytes with any number of threads. Errors: `model` for a value that is not finite.
void encode_nf4(const Tensor& values, Nf4& out);

// The matrix that `from`, on the CPU, stands for, into the contiguous `out` [rows, columns] of a floating type:
// computed in f32 and rounded once.
void decode_nf4(const Nf4& from, Tensor& out);
// Its values [first, first + out.size()), counted row by row.
void decode_nf4(const Nf4& from, int64_t first, std::span<float> out);

// [256] f32, ascending, from -0.99 to 1: the signed dynamic map that nested scales are places in (Dettmers et al. 2022,
// 8-bit optimizers, section 1.3).
const Tensor& nf4_scale_map();

}  // namespace prentice
