// Optimizer steps from encoded examples: which examples, in what order, packed into which micro-batches.
// A pure function of (seed, epoch, position), so resuming is one integer.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/batch.h"
#include "data/sequence.h"

namespace prentice {

struct StepOptions {
  int64_t batch = 16;         // examples a step; 0 = by batch_tokens
  int64_t batch_tokens = 0;   // tokens a step
  int64_t micro_tokens = 0;   // at most this many tokens a micro-batch (one longer sequence stands alone)
  bool packing = true;        // false = one example per micro-batch
  bool shuffle = true;
  uint64_t seed = 17;
  double epochs = 1;
  int64_t steps = 0;  // overrides epochs when above 0
};

// The one virtual interface of the tree: where the loop gets its steps from.
class StepSource {
 public:
  virtual ~StepSource() = default;
  virtual int64_t size() const = 0;                    // steps in the whole run
  virtual Step step(int64_t index) const = 0;          // host tensors; any order, any thread
  virtual int64_t steps_in_epoch() const = 0;
  virtual std::string order_hash() const = 0;          // SHA-256 of all ids and the order of the run
};

std::unique_ptr<StepSource> make_step_source(std::vector<Sequence> sequences, const StepOptions& options);

// One flat batch of the given sequences, in that order. `step_occurrence` keys dropout beside the sample id.
Batch collate(const std::vector<const Sequence*>& sequences, int64_t occurrence);

// Batches over all sequences in order (no shuffling), each of at most `micro_tokens` tokens: evaluation.
std::vector<Batch> collate_in_order(const std::vector<Sequence>& sequences, int64_t micro_tokens);

}  // namespace prentice
