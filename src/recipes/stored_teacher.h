// A teacher of whom only a store is left: each trained row of a step gets what the teacher said about it.
#pragma once

#include <filesystem>

#include "config/schema.h"
#include "core/batch.h"
#include "data/data_set.h"
#include "objective/sparse_teacher.h"
#include "teacher/store.h"
#include "text/tokenizer.h"

namespace prentice {

class StoredTeacher {
 public:
  // Every row of `train`, which `section` gave, must be in the store, wherever the recipe that wrote it had it. Errors:
  // `model` for another chat template, and for a row that is not there.
  StoredTeacher(const std::filesystem::path& path, TeacherStore store, const DataSection& section,
                const Tokenizer& tokenizer, const DataSet& train);

  // Fills Batch::teacher_* from the store; safe from the thread that prepares steps. Errors: those of
  // TeacherStore::read.
  void attach(Batch& batch) const;

 private:
  RowRange rows_of(const Sequence& sequence) const;  // count 0 when it is not there

  TeacherStore store_;
};

// What attach() put there.
SparseTeacher stored_targets(const Batch& batch, Tail tail);

}  // namespace prentice
