// Quantization-aware training (adapter.qat): a weight as the GGUF file that will be served holds it, the adapter folded
// in. Products read it; gradients pass straight through its rounding (ProductPart::folded).
#pragma once

#include <map>
#include <string>
#include <variant>

#include "core/tensor.h"
#include "nn/linear.h"

namespace prentice {

// What the file makes of a matrix.
struct ServedType {
  GgmlType type = GgmlType::F16;
  int64_t rows_together = 1;  // rows that it reorders among themselves, and that an export therefore merges together
};
// By Hugging Face tensor name; a matrix that is not named is served as it is.
using ServedTypes = std::map<std::string, ServedType>;

// In blocks, or rounded to F16 or BF16, in the type and on the device of the weight that it stands for.
using HeldWeight = std::variant<Dense, GgufBlocks>;

// The frozen weight [out, in] so. Encoded on the CPU, whose encoders are the export's. Errors: those of encode().
HeldWeight encode_served(const Tensor& weight, const ServedType&);

// The same of a weight with an adapter: encoded anew whenever the factors have other values, which autograd's version
// counters tell, so that an optimizer step costs one encoding, however many passes read it.
class ServedWeight {
 public:
  ServedWeight(const Tensor& weight, const ServedType&);
  // Of a copy of the layer: it shares nothing with `other`, which a backward pass may still read, and holds no values.
  ServedWeight(const ServedWeight& other);

  // Q(W + scale B A): the very bytes that an export of these factors in f32 writes. Valid until the next call with
  // other values. Errors: those of encode().
  const HeldWeight& of(const Tensor& weight, const Lora&);

 private:
  ServedType served_;
  HeldWeight held_;
  Tensor a_, b_;  // whose values `held_` has, at these versions; undefined: none yet
  int64_t a_version_ = 0, b_version_ = 0;
};

}  // namespace prentice
