#include "objective/hidden.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <fmt/format.h>

#include "core/error.h"
#include "core/wide_type.h"
#include "objective/head_share.h"

namespace prentice {

namespace {

constexpr double kLeastNorm = 1e-8;  // a state of zeros has no direction; torch's cosine_similarity draws the same line

struct States {
  Tensor student, teacher;  // [N, Dt] in the softmax's type
  Tensor row_weights;       // [N], divided by counts.tokens
};

States labelled_states(const Tensor& student, const Tensor& teacher, const Tensor& projection, const Batch& batch,
                       const Counts& counts) {
  const auto type = wide_type(student);
  Tensor rows = at::index_select(student, 0, batch.target_rows);
  if (projection.defined()) rows = rows.matmul(projection.to(rows.scalar_type()).t());
  if (rows.size(1) != teacher.size(1)) {
    fail(ExitCode::internal, fmt::format("hidden states {} wide meet a teacher's of {} without a projection",
                                         rows.size(1), teacher.size(1)));
  }
  const Tensor target_rows = batch.target_rows.to(teacher.device());
  const Tensor wanted = at::index_select(teacher.detach(), 0, target_rows).to(rows.options().dtype(type));
  return {rows.to(type), wanted, token_shares(batch, counts, type, "hidden states")};
}

Tensor norms(const Tensor& rows) { return at::linalg_vector_norm(rows, 2, at::IntArrayRef{1}).clamp_min(kLeastNorm); }

}  // namespace

Tensor hidden_mse_share(const Tensor& student, const Tensor& teacher, const Tensor& projection, const Batch& batch,
                        const Counts& counts) {
  const States of = labelled_states(student, teacher, projection, batch, counts);
  return weighted_sum((of.student - of.teacher).square().mean(1), of.row_weights);
}

Tensor hidden_cosine_share(const Tensor& student, const Tensor& teacher, const Tensor& projection, const Batch& batch,
                           const Counts& counts) {
  const States of = labelled_states(student, teacher, projection, batch, counts);
  const Tensor cosine = (of.student * of.teacher).sum(1) / (norms(of.student) * norms(of.teacher));
  return weighted_sum(cosine.neg().add(1), of.row_weights);
}

}  // namespace prentice
