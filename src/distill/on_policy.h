// Distillation on the student's own answers: a share of every step's examples is answered anew by the student as it is
// (Agarwal et al. 2024, GKD), so that it learns from the teacher where its own words lead it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "config/schema.h"
#include "core/batch.h"
#include "data/sequence.h"
#include "model/model.h"

namespace prentice {

// The last run of labelled positions: rows [begin, end).
struct AnswerSpan {
  int64_t begin = 0, end = 0;
};
AnswerSpan last_answer(const Sequence& sequence);
// Tokens of the longest of them.
int64_t longest_answer(std::span<const Sequence> sequences);

struct SamplingOptions {
  double share = 1;            // of a step's examples; a fraction of an example is drawn for each step
  int64_t max_new_tokens = 0;  // of an answer
  int64_t max_length = 0;      // of prompt and answer
  int64_t micro_tokens = 0;    // as StepOptions
  bool packing = true;
  uint64_t seed = 17;
  std::vector<int32_t> stop_ids;
  int64_t vocab = 0;  // as SampleOptions: what pads the head is no answer
};

// Replaces the last answer of the chosen examples by one that `student` samples at temperature 1, its tokens alone
// labelled; they stand in micro-batches of their own (Batch::sampled), and the step's counts are those of what it then
// holds. Which examples and which tokens is a function of the seed, the step's number, the example and its occurrence,
// and of the student's weights. `step` on the host.
void sample_answers(Step& step, int64_t index, const Model& student, const SamplingOptions& options);

}  // namespace prentice
