// Micro-batches of few shapes, so that the passes over them can be recorded once and run again (train/step_runner.h).
// What is added trains nothing: dummy sequences behind the row's own, and target rows of weight 0.
#pragma once

#include "core/batch.h"

namespace prentice {

struct FixedShape {
  int64_t tokens = 0;   // of the largest micro-batch
  int64_t longest = 0;  // of the data's sequences; dummy ones are no longer
};

// The batch (host tensors) with T up to a multiple of shape.tokens / 16: the tail is unlabelled dummy sequences of
// token 0; empty sequences fill S up to a power of two from 8 on; target_rows end in indices of an unlabelled row up to
// such a multiple, too; `longest` is shape.longest. A batch that is longer stays as it is. Errors: `internal` for a
// batch of pairs or with a teacher.
Batch with_fixed_shape(Batch batch, const FixedShape& shape);

}  // namespace prentice
