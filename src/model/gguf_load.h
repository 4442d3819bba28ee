// The weights of a GGUF file under the names and in the order of rows that the model computes with.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "io/gguf.h"
#include "model/model.h"

namespace prentice {

// Rows of one tensor of the file.
struct GgufRows {
  const GgufTensorView* view;
  int64_t first = 0, count = 0;
};

// Where a tensor of the model lies.
struct GgufTensor {
  std::string name;  // the model's
  std::vector<int64_t> shape;
  std::string gguf_name;
  GgufRows rows;
  bool stays_in_blocks = false;  // a matrix whose type is one of blocks
};

// One for each of expected_tensors(), in that order. Errors: `model`: all that is missing, extra, misshapen or of a
// type that is not read.
std::vector<GgufTensor> match_gguf(const ModelSpec&, const GgufReader&);

// The values as the model has them: rows in its order, without what the file adds. `destination`: of the tensor's
// shape, any floating type, any device; or some rows of it, from `first` on, where the file keeps the order of rows.
void copy_gguf_values(const GgufTensor&, const ModelSpec&, const Tensor& destination, int64_t first = 0);

// As load_model.
Model load_gguf(const std::filesystem::path& file, const LoadOptions&, const ModelSpec& wanted, uint64_t seed);

}  // namespace prentice
