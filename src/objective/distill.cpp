#include "objective/distill.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/_log_softmax.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/full.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "core/wide_type.h"
#include "objective/head_share.h"

namespace prentice {

namespace {

constexpr int64_t kBlockBytes = int64_t{8} << 20;  // of each tensor that a formula keeps beside them

HeadInput cut(HeadInput in, const DistillOptions& options) {
  return options.vocab > 0 ? cut_to_vocabulary(std::move(in), options.vocab) : in;
}

// This batch's share of the mean of `values` [N] over the labelled rows.
Tensor mean_over_rows(const HeadInput& in, const Batch& batch, const Counts& counts, const Tensor& values) {
  const Tensor weights = token_shares(batch, counts, wide_type(in.rows), "distillation");
  return weighted_sum(values.to(weights.scalar_type()), weights);
}

// Log-probabilities at temperature T of logits, or of log-probabilities at temperature 1 (logits like any other).
void at_temperature(Tensor& logits, double temperature) {
  at::_log_softmax_out(logits, logits.div_(temperature), 1, false);
}

// `masses` [N] takes what the likeliest entries of each row hold; undefined where all ids are compared.
ChunkDivergences live_divergences(const LogitsOfRows& teacher_logits, const DistillOptions& options,
                                  const Tensor& masses) {
  return [=](const Chunk& chunk) -> RowDivergences {
    return [=, all = teacher_logits(chunk)](const Chunk& block, Tensor& student, bool gradients) {
      const double temperature = options.temperature;
      Tensor teacher = all.narrow(0, block.begin - chunk.begin, block.size).to(student.options());
      if (teacher.size(1) != student.size(1)) {
        fail(ExitCode::internal, fmt::format("distillation: {} logits of the student meet {} of the teacher",
                                             student.size(1), teacher.size(1)));
      }
      if (masses.defined()) {
        at_temperature(teacher, 1);
        SparseTeacher known = likeliest_entries(teacher, options.top_k);
        masses.narrow(0, block.begin, block.size).copy_(known.tail.neg().add_(1));
        known.convention = options.tail;
        return sparse_divergences(known, options.divergence, options.beta, temperature, student, gradients);
      }
      at_temperature(teacher, temperature);
      if (temperature != 1) at_temperature(student, temperature);
      Tensor values = divergence_rows(options.divergence, options.beta, student, teacher, gradients);
      if (temperature == 1) return values;
      if (gradients) student.mul_(temperature);  // T^2, and 1 / T of the division
      return values.mul_(temperature * temperature);
    };
  };
}

}  // namespace

DistillShare mixed_share(const HeadInput& in, const Batch& batch, const Counts& counts, double weight,
                         const HeadChunks& chunks, const ChunkDivergences& divergences_of_chunk) {
  const Tensor row_weights = token_shares(batch, counts, wide_type(in.rows), "distillation");
  Tensor divergences = at::empty({in.rows.size(0)}, row_weights.options());
  Tensor label_losses = at::empty_like(divergences);
  const auto visit_block = [&](const Chunk& block, Tensor logits, const RowDivergences& divergences_of,
                               bool gradients) {
    const auto narrow = [&](const Tensor& t) { return t.narrow(0, block.begin, block.size); };
    const Tensor labels = narrow(in.labels).unsqueeze(1);
    at::_log_softmax_out(logits, logits, 1, false);
    narrow(label_losses).copy_(logits.gather(1, labels).squeeze(1).neg_());
    Tensor of_labels;  // p - onehot
    if (gradients && weight < 1) {
      of_labels = logits.exp();
      of_labels.scatter_add_(1, labels, at::full({block.size, 1}, -1, logits.options()));
    }
    narrow(divergences).copy_(divergences_of(block, logits, gradients));
    if (gradients && weight < 1) logits.mul_(weight).add_(of_labels, 1 - weight);
  };
  const auto losses_of = [&](const Chunk& chunk, Tensor& logits, bool gradients) {
    const RowDivergences divergences_of = divergences_of_chunk(chunk);
    const int64_t most = std::max<int64_t>(1, kBlockBytes / (logits.size(1) * logits.element_size()));
    for (int64_t at = 0; at < chunk.size; at += most) {
      const Chunk block{chunk.begin + at, std::min(most, chunk.size - at)};
      visit_block(block, logits.narrow(0, at, block.size), divergences_of, gradients);
    }
    const auto narrow = [&](const Tensor& t) { return t.narrow(0, chunk.begin, chunk.size); };
    return narrow(divergences) * weight + narrow(label_losses) * (1 - weight);
  };
  const HeadChunks limit{chunks.logit_bytes > 0 ? chunks.logit_bytes : kDistillLogitBytes};
  DistillShare share{.loss = head_share(in, row_weights, limit, losses_of)};
  share.divergence = weighted_sum(divergences, row_weights);
  share.cross_entropy = weighted_sum(label_losses, row_weights);
  return share;
}

DistillShare distill_share(const Tensor& hidden, const Linear& head, double final_softcap, const Batch& batch,
                           const Counts& counts, const LiveTeacher& teacher, const DistillOptions& options,
                           const ForwardOptions& forward, const HeadChunks& chunks) {
  const HeadInput in = cut(labelled_rows(hidden, head, final_softcap, batch, forward), options);
  const LogitsOfRows teacher_logits = [&] {
    const at::NoGradGuard no_grad;
    const auto device = teacher.hidden.device();
    return logits_of_rows(cut(chosen_rows(teacher.hidden, teacher.head, teacher.final_softcap,
                                          batch.target_rows.to(device), in.labels.to(device)),
                              options));
  }();
  const bool compares_all = options.top_k == 0 || options.top_k >= in.vocab();
  const Tensor masses =
      compares_all ? Tensor() : at::empty({in.rows.size(0)}, in.rows.options().dtype(wide_type(in.rows)));
  DistillShare share =
      mixed_share(in, batch, counts, options.weight, chunks, live_divergences(teacher_logits, options, masses));
  if (!compares_all) share.top_k_mass = mean_over_rows(in, batch, counts, masses);
  return share;
}

DistillShare distill_share(const Tensor& hidden, const Linear& head, double final_softcap, const Batch& batch,
                           const Counts& counts, const SparseTeacher& teacher, const DistillOptions& options,
                           const ForwardOptions& forward, const HeadChunks& chunks) {
  const HeadInput in = cut(labelled_rows(hidden, head, final_softcap, batch, forward), options);
  const SparseTeacher known = options.top_k > 0 ? keep_likeliest(teacher, options.top_k) : teacher;
  const RowDivergences divergences_of = [&](const Chunk& block, Tensor& log_probs, bool gradients) {
    return sparse_divergences(narrow_rows(known, block), options.divergence, options.beta, options.temperature,
                              log_probs, gradients);
  };
  const auto of_any_chunk = [&](const Chunk&) { return divergences_of; };
  DistillShare share = mixed_share(in, batch, counts, options.weight, chunks, of_any_chunk);
  if (known.tail.defined()) share.top_k_mass = mean_over_rows(in, batch, counts, known.tail.neg().add_(1));
  return share;
}

}  // namespace prentice
