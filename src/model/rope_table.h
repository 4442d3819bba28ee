// Cosines and sines of a rotary embedding for the positions of a batch, with the roundings of the reference.
#pragma once

#include "core/tensor.h"
#include "model/spec.h"

namespace prentice {

// formats 1.3, in f32: [rotary_dim / 2]
Tensor inverse_frequencies(const RopeSpec&);

struct RopeTable {
  Tensor cosine, sine;  // [T, rotary_dim / 2] in the activation's type, from f32 angles
};

RopeTable rope_table(const RopeSpec&, const Tensor& positions, at::ScalarType type);

// One table for each rotary embedding of the model.
std::vector<RopeTable> rope_tables(const ModelSpec&, const Tensor& positions, at::ScalarType type);

}  // namespace prentice
