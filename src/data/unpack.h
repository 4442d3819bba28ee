// Batches back into sequences: for what knows a step only as the loop sees it.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "core/batch.h"
#include "data/sequence.h"
#include "data/steps.h"

namespace prentice {

// The sequences of a batch on the host: ids, labels and weights; nothing of where they came from.
std::vector<Sequence> sequences_of(const Batch& batch);

// Steps of `source` whose micro-batches pass through `annotate`, on the thread that prepares a step.
std::unique_ptr<StepSource> annotated(std::unique_ptr<StepSource> source, std::function<void(Batch&)> annotate);

}  // namespace prentice
