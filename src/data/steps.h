// Optimizer steps from encoded examples: which examples, in what order, packed into which micro-batches.
// A pure function of (seed, epoch, position), so resuming is one integer.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/batch.h"
#include "data/order.h"
#include "data/sequence.h"

namespace prentice {

struct StepOptions {
  int64_t batch = 16;        // examples a step (a pair is one, a piece of a split document too); 0 = by batch_tokens
  int64_t batch_tokens = 0;  // tokens a step: step s takes the examples whose last token lies in [s, s+1) times this
  int64_t micro_tokens = 0;  // at most this many tokens a micro-batch (one longer sequence stands alone); 0 = no limit
  bool packing = true;       // false = one example per micro-batch
  bool shuffle = true;
  uint64_t seed = 17;
  double epochs = 1;  // a fraction of an epoch is rounded up to whole steps
  int64_t steps = 0;  // overrides epochs when above 0
};

// The one virtual interface of the tree: where the loop gets its steps from.
class StepSource {
 public:
  virtual ~StepSource() = default;
  virtual int64_t size() const = 0;            // steps in the whole run
  virtual Step step(int64_t index) const = 0;  // host tensors; any order, any thread
  virtual int64_t steps_in_epoch() const = 0;  // of the first one; others may differ only in a mix by tokens
  virtual std::string order_hash() const = 0;  // SHA-256 of all ids and the order of the run
};

// Steps over the examples, each once an epoch. A pair's sequences stay together, chosen first, in one micro-batch. No
// step spans two epochs; the last, short step of an epoch is kept. With a mix (EncodedSet::mix_weights) data/order.h
// says what an epoch is. The sequences stay the set's, the largest thing in host memory: it must outlive the source
// (moving the set is allowed) and not change. Errors: `data` without sequences, `usage` for options that give no step
// or batch_tokens below the longest sequence.
std::unique_ptr<StepSource> make_step_source(const EncodedSet& set, const StepOptions& options);
std::unique_ptr<StepSource> make_step_source(EncodedSet&& set, const StepOptions& options) = delete;

// Tokens of the longest example: of the sequences of a group together.
int64_t longest_group(std::span<const Sequence> sequences, int64_t group);

// The parts of a mix, in order of first appearance, by the first sequence of each example; one part without a mix.
std::vector<MixPart> mix_parts(const EncodedSet& set);

// The prompt of one example with the answer of another: what is before the first trained token, and what is from there.
Sequence mismatched(const Sequence& prompt, const Sequence& answer);

// One flat batch of the given sequences, in that order. `occurrence` keys dropout beside the sample id (Draw).
Batch collate(const std::vector<const Sequence*>& sequences, int64_t occurrence);
Batch collate(const std::vector<const Sequence*>& sequences, const std::vector<int64_t>& occurrences);

// Names a sequence's draw in 63 bits: Philox of (sample, piece, occurrence), a bijection before it is cut.
int64_t sample_key(const Sequence& sequence, int64_t occurrence);

// Calls visit(batch) for the sequences in order (no shuffling), each batch of at most `micro_tokens` tokens (0 = no
// limit; a longer sequence stands alone): evaluation. `group` consecutive sequences stay together. One batch is in
// memory at a time.
void collate_in_order(std::span<const Sequence* const> sequences, int64_t micro_tokens,
                      const std::function<void(const Batch&)>& visit, int64_t group = 1);

}  // namespace prentice
