// The one form in which every objective receives text: sequences end to end in a flat, unpadded stream.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/tensor.h"

namespace prentice {

inline constexpr int64_t kNoLabel = -100;
inline constexpr int kChosen = 0, kRejected = 1;  // Batch::role; of labelled answers: desirable, undesirable

struct Batch {
  Tensor tokens;       // [T] int64
  Tensor positions;    // [T] int64, from 0 in each sequence
  Tensor labels;       // [T] int64: the id that follows position t, or kNoLabel
  Tensor weights;      // [T] f32: weight of the label (0 where there is none)
  Tensor target_rows;  // [N] int64: ascending indices t with a label
  Tensor starts;       // [S+1] int32: offsets of the sequences in the stream (cu_seqlens)
  Tensor sequence_id;  // [T] int32: index of the sequence that position t belongs to
  Tensor sample_key;   // [S] int64: (sample id, occurrence) of each sequence; keys the dropout mask
  Tensor pair, role;   // [S] int32, preference data only: which pair of the batch, from 0; kChosen or kRejected
  Tensor reference;    // [S] f64, where known beforehand: log-probability of the answer under the reference
  Tensor teacher_ids,
      teacher_log_probs;                // [N, K] int64, f32, from a store: a teacher's likeliest tokens of each target
  Tensor teacher_counts, teacher_tail;  // [N] int64, f32: how many of them there are, and the mass of all the others
  std::shared_ptr<const Batch> retold;  // the same texts in the tokens of a teacher of another vocabulary
  Tensor retold_rows;                   // [N] int64: the row of `retold` that each target is compared with, or -1
  bool sampled = false;                 // the labels are the model's own samples
  std::vector<int64_t> host_starts;     // `starts` on the host, so that no kernel launch waits for the device
  Tensor host_tokens;                   // and `tokens`, in a batch that came from there
  int64_t longest = 0;                  // tokens in the longest sequence
};

// Every tensor of the batch that is there becomes change(tensor).
template <class Change>
void change_tensors(Batch& batch, const Change& change) {
  for (Tensor* tensor :
       {&batch.tokens, &batch.positions, &batch.labels, &batch.weights, &batch.target_rows, &batch.starts,
        &batch.sequence_id, &batch.sample_key, &batch.pair, &batch.role, &batch.reference, &batch.teacher_ids,
        &batch.teacher_log_probs, &batch.teacher_counts, &batch.teacher_tail, &batch.retold_rows}) {
    if (tensor->defined()) *tensor = change(*tensor);
  }
}

// Moves every tensor of the batch to `device`.
Batch to_device(Batch batch, at::Device device);

// What a step's loss is divided by: counted over all micro-batches and ranks before the first forward.
struct Counts {
  double tokens = 0;  // sum of the label weights
  double sequences = 0;
  double pairs = 0;
  double chosen_tokens = 0;   // those of `tokens` that belong to chosen answers
  double sampled_tokens = 0;  // those of `tokens` that the model has sampled itself
};

struct Step {
  std::vector<Batch> micros;
  std::vector<Batch> mismatched;  // labelled answers: each prompt of the step with the answer to the next one (KTO)
  Counts counts;
  int64_t epoch = 0;
  int64_t input_tokens = 0;  // tokens that pass through the model
};

// Named scalars of a step (0-dim tensors, on the device until the log interval); equal names add up over micro-batches.
using Metrics = std::map<std::string, Tensor>;

// A batch's already normalised share of the step's loss. Shares add up to the step's loss; nobody else divides.
using Objective = std::function<Tensor(const Batch&, const Counts&, Metrics&)>;

}  // namespace prentice
