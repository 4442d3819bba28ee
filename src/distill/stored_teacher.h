// A teacher of whom only a store is left: each trained row of a step gets what the teacher said about it.
#pragma once

#include <filesystem>

#include "config/schema.h"
#include "core/batch.h"
#include "data/data_set.h"
#include "io/json.h"
#include "objective/sparse_teacher.h"
#include "teacher/store.h"
#include "text/tokenizer.h"

namespace prentice {

// What a store says about the rows that a recipe trains on.
struct TaughtRows {
  int64_t rows = 0, held = 0;  // held: in the store
  StoreSummary store;          // of all that it holds
};
std::string to_text(const TaughtRows&);  // "24 of 24 rows are in the store, ..."
Json to_json(const TaughtRows&);

class StoredTeacher {
 public:
  // `section` gave `train`. Errors: `model` for another chat template.
  StoredTeacher(const std::filesystem::path& path, TeacherStore store, const DataSection& section,
                const Tokenizer& tokenizer, const DataSet& train);

  // Errors: `model` for a row that is not in the store, wherever the recipe that wrote it had it.
  void require_all(const EncodedSet&) const;
  // Reads the store's row tables through.
  TaughtRows taught(const EncodedSet&) const;

  // Fills Batch::teacher_* from the store; safe from the thread that prepares steps. Errors: those of
  // TeacherStore::read.
  void attach(Batch& batch) const;

 private:
  RowRange rows_of(const Sequence& sequence) const;  // count 0 when it is not there
  bool holds(const Sequence& sequence) const;

  TeacherStore store_;
};

// What attach() put there.
SparseTeacher stored_targets(const Batch& batch, TeacherTail tail);

}  // namespace prentice
