// A file of tensors before its first tensor: the bytes of its head, and what follows in which order. What the writers
// of both formats put at a file's front, for whoever writes the rest in another way than they do.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "io/gguf.h"
#include "io/safetensors.h"
#include "io/tensor_stream.h"

namespace prentice {

struct StreamLayout {
  std::vector<std::byte> head;
  std::vector<TensorStream::Part> parts;
};

// Errors: those of GgufWriter's declaration.
StreamLayout gguf_layout(const std::vector<GgufEntry>& metadata, const std::vector<GgufTensorInfo>& tensors);
StreamLayout safetensors_layout(const std::vector<TensorInfo>& tensors,
                                const std::map<std::string, std::string>& metadata);

}  // namespace prentice
