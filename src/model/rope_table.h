// Cosines and sines of a rotary embedding for the positions of a batch, with the roundings of the reference.
#pragma once

#include "core/tensor.h"
#include "model/spec.h"

namespace prentice {

// The tokens to rotate: their positions [T] inside their sequences, and where in the stream sequences begin and end.
struct RotaryInput {
  Tensor positions;
  std::vector<int64_t> starts;  // [S + 1], on the host
};

// Of RopeSpec::kind, in f32, as transformers' modeling_rope_utils computes them: [rotary_dim / 2]. `long_sequence`: of
// sequences above original_max_positions, where that matters.
Tensor inverse_frequencies(const RopeSpec&, bool long_sequence = false);

struct RopeTable {
  Tensor cosine, sine;  // [T, rotary_dim / 2] in the activation's type, from f32 angles
};

// The length that decides for longrope is a sequence's largest position + 1.
RopeTable rope_table(const RopeSpec&, const RotaryInput&, at::ScalarType type);

// Whether sequences of both lengths rotate a position alike, so that keys of one serve the other.
bool same_rotation(const ModelSpec&, int64_t length, int64_t other);

}  // namespace prentice
