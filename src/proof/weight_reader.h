// Where the tensors of one decoder come from, for who goes through it a layer at a time and holds none of it.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "export/weight_source.h"
#include "model/gguf_load.h"

namespace prentice {

struct WeightReader {
  ModelSpec spec;
  // Fills `destination`, f32 on the CPU, with as many rows of a tensor as it has, from `first` on. Of the embedding and
  // the head any rows; another tensor may have its rows in another order where it lies, and is read whole.
  std::function<void(const std::string& tensor, int64_t first, const Tensor& destination)> read;
};

// The source must outlive the reader; and so must the file, which the spec was read from.
WeightReader reader_of(const WeightSource&);
WeightReader reader_of(const GgufReader&, const ModelSpec&);
// What products of a model that trains against a file's rounding (adapter.qat) read; it must outlive the reader.
WeightReader reader_of(const Model&);

}  // namespace prentice
