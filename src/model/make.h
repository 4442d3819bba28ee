// The decoder's structs with every tensor allocated and named, values not yet set: what loading and random
// initialisation fill, and on the meta device the list of tensors a spec fixes.
#pragma once

#include "model/model.h"

namespace prentice {

// q, k, v and gate, up are views of one joined storage each, where they are not quantized.
Model make_model(const ModelSpec&, const LoadOptions&);

// The value a tensor of a new model starts with: Normal(0, initializer_range) for matrices, ones for norms, zeros for
// biases; a function of (seed, name) alone.
void start_weight(const ModelSpec&, uint64_t seed, const std::string& name, Tensor& tensor);

}  // namespace prentice
