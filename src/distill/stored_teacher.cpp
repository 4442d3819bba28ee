#include "distill/stored_teacher.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "core/error.h"
#include "data/content.h"
#include "data/unpack.h"
#include "distill/store_key.h"

namespace prentice {

std::string to_text(const TaughtRows& taught) {
  return fmt::format(
      "{} of {} rows are in the store, whose entries, {:.1f} a token on average, hold {:.2f} % of the mass",
      taught.held, taught.rows, taught.store.entries, 100 * taught.store.mass);
}

Json to_json(const TaughtRows& taught) {
  return Json::Object{{"rows", taught.rows},
                      {"held", taught.held},
                      {"entries_per_token", taught.store.entries},
                      {"coverage", taught.store.mass}};
}

StoredTeacher::StoredTeacher(const std::filesystem::path& path, TeacherStore store, const DataSection& section,
                             const Tokenizer& tokenizer, const DataSet& train)
    : store_(std::move(store)) {
  require_key(path, store_.key(), {.chat_template = template_sha256(section, tokenizer, train)});
}

bool StoredTeacher::holds(const Sequence& sequence) const {
  const auto labels = std::ranges::count_if(sequence.labels, [](int32_t label) { return label != kNoLabel; });
  return rows_of(sequence).count == static_cast<uint64_t>(labels);
}

void StoredTeacher::require_all(const EncodedSet& set) const {
  const auto is_missing = [&](const Sequence& sequence) { return !holds(sequence); };
  const auto missing = std::ranges::find_if(set.sequences, is_missing);
  if (missing == set.sequences.end()) return;
  fail(ExitCode::model,
       fmt::format("{}: the store of distill.teacher does not hold this row (nor, in all, {} of {})",
                   to_string(set.origins[missing->sample]), std::ranges::count_if(set.sequences, is_missing),
                   set.sequences.size()),
       "train on the data section of the recipe that wrote the store: its files, template, train_on and max_length");
}

TaughtRows StoredTeacher::taught(const EncodedSet& set) const {
  return {.rows = static_cast<int64_t>(set.sequences.size()),
          .held = std::ranges::count_if(set.sequences, [&](const Sequence& sequence) { return holds(sequence); }),
          .store = store_.summary()};
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

SparseTeacher stored_targets(const Batch& batch, TeacherTail tail) {
  return {.ids = batch.teacher_ids,
          .log_probs = batch.teacher_log_probs,
          .counts = batch.teacher_counts,
          .tail = batch.teacher_tail,
          .convention = tail};
}

}  // namespace prentice
