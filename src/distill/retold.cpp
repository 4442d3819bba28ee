#include "distill/retold.h"

#include <ATen/ops/tensor.h>
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <memory>
#include <string>

#include "core/error.h"
#include "data/align.h"
#include "data/content.h"
#include "data/data_template.h"
#include "data/unpack.h"

namespace prentice {

namespace {

constexpr double kLeastShare = 0.05, kSparseShare = 0.5;  // of the trained tokens, that meet one of the teacher's
constexpr const char* kWholeHint = "uld compares whole rows: data.overlong=drop leaves the long ones out";

// The teacher's rows, by where they stand in the files.
std::map<std::string, Sequence> read_rows(DataSection section, const Tokenizer& tokenizer, int64_t longest,
                                          int threads) {
  section.max_length.reset();
  section.overlong = Overlong::drop;
  section.chat_template = "auto";  // the teacher's own, or what it was given for want of one
  DataSet set = with_context(ExitCode::data, "the rows as distill.teacher reads them", [&] {
    return load_data_set(section.train, section, tokenizer, {.max_length = longest, .threads = threads});
  });
  std::map<std::string, Sequence> rows;
  for (auto& sequence : set.encoded.sequences) {
    rows.emplace(to_string(set.encoded.origins[sequence.sample]), std::move(sequence));
  }
  return rows;
}

}  // namespace

Retold::Retold(const DataSection& section, const DataSet& ours, const Tokenizer& our_tokenizer, Tokenizer teacher,
               int64_t longest, int threads) {
  const EncodedSet& set = ours.encoded;
  const bool split = std::ranges::any_of(set.sequences, [](const Sequence& s) { return s.piece > 0; });
  if (split || set.truncated > 0) {
    fail(ExitCode::data,
         fmt::format("distill.loss: uld: {} rows are longer than data.max_length and were cut",
                     split ? "some" : std::to_string(set.truncated)),
         kWholeHint);
  }
  if (!teacher.chat_template() && our_tokenizer.chat_template()) {
    teacher.replace_chat_template(*our_tokenizer.chat_template(), our_tokenizer.chat_template_file());
  }
  auto theirs = read_rows(section, teacher, longest, threads);
  int64_t trained = 0, aligned = 0, too_long = 0;
  for (const auto& sequence : set.sequences) {
    const auto [entry, is_new] = rows_.try_emplace(content_of(sequence));
    if (!is_new) continue;
    Row& row = entry->second;
    const auto found = theirs.find(to_string(set.origins[sequence.sample]));
    if (found != theirs.end()) row.theirs = found->second;
    too_long += found == theirs.end();
    row.rows = align_rows({sequence, our_tokenizer}, {row.theirs, teacher});
    trained += static_cast<int64_t>(row.rows.size());
    aligned += std::ranges::count_if(row.rows, [](int64_t at) { return at >= 0; });
  }
  const double share = static_cast<double>(aligned) / static_cast<double>(std::max<int64_t>(1, trained));
  description_ = fmt::format("{:.1f} % of the trained tokens meet one of the teacher's", 100 * share);
  if (too_long > 0) {
    description_ +=
        fmt::format("; {} of {} rows are longer than it can hold and have cross-entropy alone", too_long, rows_.size());
  }
  is_sparse_ = share < kSparseShare;
  if (share >= kLeastShare) return;
  fail(ExitCode::data, "distill.loss: uld: " + description_ + ", too few to learn from",
       too_long > 0 ? "shorter rows, or a teacher of a longer context"
                    : "`prentice audit` shows the student's rows; the teacher must read the same texts");
}

void Retold::attach(Batch& batch) const {
  std::vector<const Sequence*> theirs;
  std::vector<int64_t> rows;
  int64_t start = 0;
  for (const auto& sequence : sequences_of(batch)) {
    const Row& row = rows_.at(content_of(sequence));
    for (const int64_t at : row.rows) rows.push_back(at < 0 ? -1 : start + at);
    if (row.theirs.size() == 0) continue;
    theirs.push_back(&row.theirs);
    start += row.theirs.size();
  }
  if (!theirs.empty()) batch.retold = std::make_shared<const Batch>(collate(theirs, 0));
  batch.retold_rows = at::tensor(rows, at::kLong);
}

}  // namespace prentice
