#include <c10/core/GradMode.h>

#include "data/steps.h"
#include "objective/top_rows.h"
#include "recipes/teach.h"
#include "run/progress.h"
#include "run/signals.h"

namespace prentice {

namespace {

// The rows of a batch that a store still lacks.
TargetRows rows_from(const TopRows& top, uint64_t skipped) {
  const auto from = [&](const Tensor& t) {
    const auto first = static_cast<int64_t>(skipped);
    return t.narrow(0, first, t.size(0) - first).to(at::kCPU);
  };
  return {from(top.ids), {}, from(top.log_probs), from(top.tail)};
}

}  // namespace

void write_store(const Model& teacher, const PreparedTeach& teach, TeacherStoreWriter& writer, int64_t log_every,
                 bool quiet) {
  const c10::NoGradGuard no_grad;
  const auto& batches = teach.batches;
  size_t next = 0;
  while (next < batches.size() && batches[next].first_row + batches[next].rows <= writer.next_row()) ++next;
  SessionProgress progress(next, batches.size(), log_every, teach.opened.machine.device, quiet);
  for (; next < batches.size(); ++next) {
    throw_if_stopped(kContinues);
    std::vector<const Sequence*> sequences;
    for (size_t i = 0; i < batches[next].count; ++i)
      sequences.push_back(&teach.data.encoded.sequences[batches[next].first + i]);
    const Batch batch = to_device(collate(sequences, 0), teach.opened.machine.device);
    const Tensor hidden = forward_hidden(teacher, batch, {});
    const TopRows top = top_rows(hidden, teacher.head, teacher.spec.final_softcap, batch,
                                 static_cast<int64_t>(teach.key.vocabulary), static_cast<int64_t>(teach.key.top_k));
    writer.append(rows_from(top, writer.next_row() - batches[next].first_row));
    progress.done(batch.tokens.size(0));
  }
}

}  // namespace prentice
