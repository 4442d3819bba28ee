#include "objective/uld.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/_softmax.h>
#include <ATen/ops/sort.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/GradMode.h>

#include <algorithm>

#include "core/wide_type.h"

namespace prentice {

namespace {

Tensor& to_probabilities(Tensor& logits, double temperature) {
  return at::_softmax_out(logits, logits.div_(temperature), 1, false);
}

Tensor descending(const Tensor& probabilities) { return std::get<0>(at::sort(probabilities, 1, /*descending=*/true)); }

// The sorted student's gradient by p is sign(p - q), which goes back to the ids along the order of the sort; then
// through the softmax: p (g - sum p g).
Tensor uld_rows(Tensor& student, const Tensor& teacher_sorted, double temperature, const Tensor& compared,
                bool gradients) {
  to_probabilities(student, temperature);
  auto [difference, order] = at::sort(student, 1, /*descending=*/true);
  const int64_t shared = std::min(student.size(1), teacher_sorted.size(1));
  difference.narrow(1, 0, shared).sub_(teacher_sorted.narrow(1, 0, shared));
  // What stands behind the shorter side is compared with zeros.
  const Tensor behind = teacher_sorted.narrow(1, shared, teacher_sorted.size(1) - shared).sum(1);
  const Tensor values = (difference.abs().sum(1) + behind) * compared * (temperature * temperature);
  if (!gradients) return values;
  Tensor by_id = at::zeros_like(student).scatter_(1, order, difference.sign_()).mul_(student);
  student.mul_(by_id.sum(1, true).neg_()).add_(by_id).mul_(compared.unsqueeze(1) * temperature);
  return values;
}

}  // namespace

DistillShare uld_share(const Tensor& hidden, const Linear& head, double final_softcap, const Batch& batch,
                       const Counts& counts, const UldTeacher& teacher, const DistillOptions& options,
                       const ForwardOptions& forward, const HeadChunks& chunks) {
  const auto cut = [](HeadInput in, int64_t vocab) { return vocab > 0 ? cut_to_vocabulary(std::move(in), vocab) : in; };
  const HeadInput in = cut(labelled_rows(hidden, head, final_softcap, batch, forward), options.vocab);
  const Tensor compared = teacher.rows.ge(0).to(hidden.device(), wide_type(hidden));
  const LogitsOfRows teacher_logits = [&] {
    const at::NoGradGuard no_grad;
    const Tensor rows = teacher.rows.clamp_min(0).to(teacher.hidden.device());
    return logits_of_rows(
        cut(chosen_rows(teacher.hidden, teacher.head, teacher.final_softcap, rows, in.labels), teacher.vocab));
  }();
  const auto divergences_of = [&](const Chunk& chunk) -> RowDivergences {
    return [&, chunk, all = teacher_logits(chunk)](const Chunk& block, Tensor& log_probs, bool gradients) {
      Tensor theirs = all.narrow(0, block.begin - chunk.begin, block.size).to(log_probs.options());
      const Tensor sorted = descending(to_probabilities(theirs, options.temperature));
      return uld_rows(log_probs, sorted, options.temperature, compared.narrow(0, block.begin, block.size), gradients);
    };
  };
  return mixed_share(in, batch, counts, options.weight, chunks, divergences_of);
}

}  // namespace prentice
