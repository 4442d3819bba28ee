// NF4 of a matrix that comes a few rows at a time. Separate from nf4.h, which everything that holds a weight reads.
#pragma once

#include "quant/nf4.h"

namespace prentice {

// What encode_nf4 makes of all of them, from f32 values in order, in an `out` on the CPU.
class Nf4Encoder {
 public:
  explicit Nf4Encoder(Nf4& out);

  // Whole blocks, but for the last. Errors: `model` for a value that is not finite.
  void add(std::span<const float> values);
  void finish();  // behind the last

 private:
  Nf4& out_;
  Tensor scales_;  // [blocks] f32
  int64_t added_ = 0;
};
// So many rows, or a multiple, are whole blocks.
int64_t nf4_rows_together(int64_t columns, int64_t block = kNf4Block);

}  // namespace prentice
