#include "objective/sequence_sums.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/segment_reduce.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>

namespace prentice {

Tensor sequence_sums(const Tensor& values, const Batch& batch) {
  const Tensor weights = at::index_select(batch.weights, 0, batch.target_rows).to(at::kDouble);
  // Padded rows may stand at one position several times; only zeros meet there, so the order of adding is no matter.
  const Tensor placed = at::zeros({batch.labels.size(0)}, values.options().dtype(at::kDouble))
                            .index_add(0, batch.target_rows, values.to(at::kDouble) * weights);
  return at::segment_reduce(placed, "sum", {}, {}, batch.starts.to(at::kLong), 0, /*unsafe=*/true, 0);
}

Tensor sequence_tokens(const Batch& batch) {
  return sequence_sums(at::ones_like(batch.target_rows, at::TensorOptions().dtype(at::kDouble)), batch);
}

Tensor of_role(const Tensor& values, const Batch& batch, int role, int64_t pairs) {
  const Tensor taken = batch.role.eq(role).logical_and(batch.pair.ge(0)).logical_and(batch.pair.lt(pairs));
  const Tensor index = at::where(taken, batch.pair, pairs).to(at::kLong);  // the last place takes what is left out
  return at::zeros({pairs + 1}, values.options()).index_add(0, index, values).narrow(0, 0, pairs);
}

}  // namespace prentice
