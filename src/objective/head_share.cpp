#include "objective/head_share.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/index_select.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>
#include <torch/csrc/autograd/custom_function.h>

#include "core/error.h"

namespace prentice {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;
using Optional = std::optional<Tensor>;

// The first five arguments are the tensors of `in`, for their gradients.
struct HeadShare : torch::autograd::Function<HeadShare> {
  static Tensor forward(AutogradContext* context, const Tensor&, const Optional&, const Optional&, const Optional&,
                        const Optional&, const HeadInput& in, const Tensor& row_weights, int64_t logit_bytes,
                        bool with_gradients, const RowLosses& loss_of) {
    HeadGradients grads;
    if (with_gradients) grads = gradients_wanted(in);
    Tensor losses = at::empty({in.rows.size(0)}, row_weights.options());
    visit_chunks(in, {logit_bytes}, with_gradients ? &grads : nullptr,
                 [&](const Chunk& chunk, Tensor& logits) -> ChunkGradient {
                   losses.narrow(0, chunk.begin, chunk.size).copy_(loss_of(chunk, logits, with_gradients));
                   if (!with_gradients) return {};
                   return {logits, row_weights.narrow(0, chunk.begin, chunk.size)};
                 });
    context->save_for_backward({grads.rows, grads.weight, grads.bias, grads.low, grads.b});
    return weighted_sum(losses, row_weights);
  }

  static variable_list backward(AutogradContext* context, variable_list upstream) {
    variable_list grads = context->get_saved_variables();
    for (Tensor& grad : grads) {
      if (grad.defined()) grad = grad.mul(upstream[0].to(grad.scalar_type()));
    }
    grads.resize(10);
    return grads;
  }
};

}  // namespace

Tensor head_share(const HeadInput& in, const Tensor& row_weights, const HeadChunks& chunks, const RowLosses& loss_of) {
  bool trains = false;
  for (const Tensor* t : {&in.rows, &in.weight, &in.bias, &in.low, &in.b}) trains |= t->defined() && t->requires_grad();
  return HeadShare::apply(in.rows, optional(in.weight), optional(in.bias), optional(in.low), optional(in.b), in,
                          row_weights, chunks.logit_bytes, trains && at::GradMode::is_enabled(), loss_of);
}

Tensor token_shares(const Batch& batch, const Counts& counts, c10::ScalarType type, const char* what) {
  if (!(counts.tokens > 0)) fail(ExitCode::internal, fmt::format("{}: the step counts no target tokens", what));
  return at::index_select(batch.weights, 0, batch.target_rows).to(at::kDouble).div_(counts.tokens).to(type);
}

Tensor weighted_sum(const Tensor& values, const Tensor& row_weights) {
  return values.to(at::kDouble).dot(row_weights.to(at::kDouble)).to(row_weights.scalar_type());
}

}  // namespace prentice
