#include "model/score.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/segment_reduce.h>
#include <ATen/ops/where.h>

#include "core/wide_type.h"

namespace prentice {

namespace {

// [S] int64: where in the stream each sequence is read; its first token when all are padding.
Tensor read_positions(const Tensor& tokens, const Tensor& starts, const std::optional<int32_t>& pad) {
  const Tensor ends = starts.narrow(0, 1, starts.size(0) - 1), begins = starts.narrow(0, 0, starts.size(0) - 1);
  if (!pad) return ends - 1;
  const Tensor places = at::arange(tokens.size(0), tokens.options().dtype(at::kDouble));
  const Tensor kept = at::where(tokens.ne(*pad), places, places.new_zeros({}));
  return at::segment_reduce(kept, "max", {}, {}, starts, 0, /*unsafe=*/true, 0).to(at::kLong).maximum(begins);
}

}  // namespace

Tensor sequence_scores(const Model& model, const Batch& batch, const ForwardOptions& options) {
  const Tensor hidden = forward_hidden(model, batch, options);
  const Tensor at_ends =
      at::index_select(hidden, 0, read_positions(batch.tokens, batch.starts.to(at::kLong), model.spec.pad_id));
  const Tensor& weight = dense_weight(model.head);
  const auto wide = wide_type(weight);
  return at::matmul(at_ends.to(wide), weight.select(0, 0).to(wide)).to(at::kDouble);
}

}  // namespace prentice
