// What a model makes of the labelled positions of rows, kept until another model has scored them, too: then the two
// are compared distribution by distribution, and neither had to wait in memory for the other. A state has D numbers
// where a distribution has V; the head that makes one of the other stays.
#pragma once

#include <cstdint>
#include <functional>

#include "core/tensor.h"
#include "data/sequence.h"
#include "model/model.h"

namespace prentice {

// Of the first rows, so many positions are compared and no more: their states are all that grows with the rows.
inline constexpr int64_t kComparedPositions = 8192;

struct LabelStates {
  Tensor hidden;  // [N, D] behind the final norm, on the CPU; undefined of a reward model, which gives no words
  Linear head;
  double softcap = 0;
  c10::Device device = c10::kCPU;  // of the head
  int64_t tokens = 0;              // that passed through the model for them, prompts included
  double seconds = 0;              // of that: forward pass and log-probabilities of the labels, or the scores
};

// Of the rows of the first `examples` examples up to those with which kComparedPositions are reached; rows are whole.
// `before_batch` may throw.
LabelStates label_states(const Model&, const EncodedSet&, int64_t examples, const std::function<void()>& before_batch);

struct MeanDivergence {
  int64_t positions = 0;
  double mean = 0;    // KL(a || b) in nats: what is lost where b is served in place of a
  bool same = false;  // all logits there are the same bits
};

// Over the whole vocabulary; of heads of different length, over the ids that both have. Both are of the same rows, cut
// into the same tokens. Errors: `numerical` where it is not a number.
MeanDivergence mean_divergence(const LabelStates& a, const LabelStates& b);

}  // namespace prentice
