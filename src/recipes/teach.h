// A run of a teacher over data, known before its weights load: rows, batches, what the store will be, the plan.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "artifact/open.h"
#include "config/kinds.h"
#include "data/data_set.h"
#include "model/model.h"
#include "plan/plan.h"
#include "teacher/store_writer.h"

namespace prentice {

// A forward pass of the teacher: some consecutive sequences. What it makes depends on them all (padding and packing
// move logits a bit), so a batch is computed as a whole, also where a run goes on in the middle of it.
struct TeachBatch {
  size_t first = 0, count = 0;  // sequences
  uint64_t first_row = 0, rows = 0;
};

struct PreparedTeach {
  Opened opened;
  DataSet data;
  std::vector<StoreSample> samples;  // one a sequence
  std::vector<TeachBatch> batches;
  StoreKey key;  // the teacher's hash takes reading it through and comes later
  StoreOptions options;
  StoreLayout layout;
  Plan plan;
};

// Errors: whatever can be wrong with the recipe's data; `usage` for what no store can be.
PreparedTeach prepare_teach(TeachRecipe&, Opened, const Hardware&);

// teach.out, or its default in run.out.
std::filesystem::path store_path(const TeachRecipe&);

// Runs the teacher over what the writer still lacks. Errors: `numerical`, `storage`, Stopped after whole chunks.
void write_store(const Model& teacher, const PreparedTeach&, TeacherStoreWriter&, int64_t log_every, bool quiet);

}  // namespace prentice
