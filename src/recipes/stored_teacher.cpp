#include "recipes/stored_teacher.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "core/error.h"
#include "data/content.h"
#include "data/unpack.h"
#include "recipes/store_key.h"

namespace prentice {

StoredTeacher::StoredTeacher(const std::filesystem::path& path, TeacherStore store, const DataSection& section,
                             const Tokenizer& tokenizer, const DataSet& train)
    : store_(std::move(store)) {
  require_key(path, store_.key(), {.chat_template = template_sha256(section, tokenizer, train)});
  const EncodedSet& set = train.encoded;
  const auto is_missing = [&](const Sequence& sequence) {
    const auto labels = std::ranges::count_if(sequence.labels, [](int32_t label) { return label != kNoLabel; });
    return rows_of(sequence).count != static_cast<uint64_t>(labels);
  };
  const auto missing = std::ranges::find_if(set.sequences, is_missing);
  if (missing == set.sequences.end()) return;
  fail(ExitCode::model,
       fmt::format("{}: the store of distill.teacher does not hold this row (nor, in all, {} of {})",
                   to_string(set.origins[missing->sample]), std::ranges::count_if(set.sequences, is_missing),
                   set.sequences.size()),
       "train on the data section of the recipe that wrote the store: its files, template, train_on and max_length");
}

RowRange StoredTeacher::rows_of(const Sequence& sequence) const {
  const auto sample = store_.find(content_of(sequence));
  return sample ? store_.sample_rows(*sample) : RowRange{};
}

void StoredTeacher::attach(Batch& batch) const {
  std::vector<RowRange> ranges;
  for (const auto& sequence : sequences_of(batch)) ranges.push_back(rows_of(sequence));
  TargetRows rows = store_.read(ranges);
  batch.teacher_ids = std::move(rows.ids);
  batch.teacher_log_probs = std::move(rows.log_probs);
  batch.teacher_counts = std::move(rows.counts);
  batch.teacher_tail = std::move(rows.tail);
}

SparseTeacher stored_targets(const Batch& batch, Tail tail) {
  return {.ids = batch.teacher_ids,
          .log_probs = batch.teacher_log_probs,
          .counts = batch.teacher_counts,
          .tail = batch.teacher_tail,
          .convention = tail};
}

}  // namespace prentice
