// Texts in the tokens of a teacher of another vocabulary, beside the student's own: what uld compares.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "config/schema.h"
#include "core/batch.h"
#include "data/encode.h"
#include "text/tokenizer.h"

namespace prentice {

class Retold {
 public:
  // Reads the rows of `section` again with the teacher's tokenizer, and its template where it has one; rows that are
  // longer than `longest` of its tokens have no counterpart. `ours`: the rows as the student trains on them, whole.
  // Errors: `data` for rows that were cut, and when hardly any token has a counterpart.
  Retold(const DataSection& section, const DataSet& ours, const Tokenizer& our_tokenizer, Tokenizer teacher,
         int64_t longest, int threads);

  // Fills Batch::retold and retold_rows.
  void attach(Batch& batch) const;
  // "97.1 % of the trained tokens meet one of the teacher's; 2 of 40 rows are longer than it can hold".
  const std::string& description() const { return description_; }
  // Whether most trained tokens learn nothing of the teacher.
  bool is_sparse() const { return is_sparse_; }

 private:
  struct Row {
    Sequence theirs;            // empty where the teacher cannot hold it
    std::vector<int64_t> rows;  // of each labelled position of ours
  };

  std::unordered_map<uint64_t, Row> rows_;  // by content of ours
  std::string description_;
  bool is_sparse_ = false;
};

}  // namespace prentice
