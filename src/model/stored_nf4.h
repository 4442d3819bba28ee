// Weights that bitsandbytes has stored in four bits: what config.json says of them, and the tensors that stand beside
// the codes of one.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "io/safetensors.h"
#include "model/model.h"

namespace prentice {

// Why weights stored as config.json's "quantization_config" says cannot be read; "" when they can: NF4.
std::string unsupported_quantization(const Json& quantization_config);
// How a model's layers are stored, in a folder or a GGUF file, of a spec that read_spec has accepted.
Quantize stored_quantize(const ModelSpec&);

// Names of the weights that a model in four bits holds so: those of its layers, and not the embedding or the head.
std::set<std::string> nf4_weights(const ModelSpec&);

// Whether the tensor in the place of such a weight holds codes, and not its values. bitsandbytes stores them in
// whatever type and shape bnb_4bit_quant_storage asked for: FSDP shards only floats.
bool holds_codes(const WeightFolder&, const TensorView&);
// What is wrong with `codes`, in the place of a weight of this shape, and the tensors beside them; "" when nothing.
std::string nf4_fault(const WeightFolder&, const TensorView& codes, const std::vector<int64_t>& shape);
// Whether `name` is a tensor that stands beside the codes called `codes`.
bool stands_beside(std::string_view name, std::string_view codes);

// The weight of which nf4_fault finds no fault, in the folder's own mapped memory where that is aligned. `type`: of
// products.
Nf4 stored_nf4(const WeightFolder&, const TensorView& codes, const std::vector<int64_t>& shape, c10::ScalarType type);
// A copy that outlives the folder.
Nf4 copied(const Nf4&, const c10::Device& device);

}  // namespace prentice
