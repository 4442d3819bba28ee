#include <c10/core/GradMode.h>

#include "core/device_memory.h"
#include "data/steps.h"
#include "objective/top_rows.h"
#include "recipes/teach.h"
#include "run/clock.h"
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

// Tokens a second and the time left are those of this session.
class TeachProgress {
 public:
  TeachProgress(const PreparedTeach& teach, size_t first, int64_t every, bool quiet)
      : teach_(teach), first_(first), every_(every), printer_(quiet), started_(wall_time()) {}

  void done(size_t batch, int64_t tokens) {
    tokens_ += tokens;
    const size_t steps = teach_.batches.size(), done = batch + 1;
    if (done % static_cast<size_t>(every_) != 0 && done != steps) return;
    const double seconds = std::max(1e-9, wall_time() - started_);
    const auto share = static_cast<double>(steps - done) / static_cast<double>(done - first_);
    printer_.show(progress_line({.step = static_cast<int64_t>(done),
                                 .steps = static_cast<int64_t>(steps),
                                 .tokens_per_second = static_cast<double>(tokens_) / seconds,
                                 .memory = memory_use(teach_.opened.machine.device),
                                 .seconds_left = seconds * share}));
  }

 private:
  const PreparedTeach& teach_;
  size_t first_;
  int64_t every_;
  ProgressPrinter printer_;
  double started_;
  int64_t tokens_ = 0;
};

}  // namespace

void write_store(const Model& teacher, const PreparedTeach& teach, TeacherStoreWriter& writer, int64_t log_every,
                 bool quiet) {
  const c10::NoGradGuard no_grad;
  const auto& batches = teach.batches;
  size_t next = 0;
  while (next < batches.size() && batches[next].first_row + batches[next].rows <= writer.next_row()) ++next;
  TeachProgress progress(teach, next, log_every, quiet);
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
    progress.done(next, batch.tokens.size(0));
  }
}

}  // namespace prentice
