// What a run on the CPU holds beside its tensors: what the program has taken when the plan is made, which is measured,
// and what its passes will touch of the libraries below. Separate from the plan's other figures, which follow from the
// recipe alone: whatever is decided by memory is decided without this one, so that every run decides alike.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>
#include <set>

#include "model/model.h"

namespace prentice {

// What the libraries will see of a run.
struct PassesToCome {
  c10::ScalarType dtype = c10::kFloat;
  int64_t threads = 1;
  std::set<int64_t> rows;  // tokens of its batches
};

// Bytes above those of the bare program: of code, data, workspaces, and of what is compiled while the passes run. To be
// asked when the data is read and no weights are loaded.
int64_t program_share(const ModelSpec&, const PassesToCome&);

}  // namespace prentice
