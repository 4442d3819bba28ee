#include "objective/cross_entropy.h"

#include <ATen/ops/index_select.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/custom_function.h>

#include "core/error.h"
#include "core/wide_type.h"

namespace prentice {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;
using Optional = std::optional<Tensor>;

// The first five arguments are those of HeadInput.
struct CrossEntropy : torch::autograd::Function<CrossEntropy> {
  static Tensor forward(AutogradContext* context, const Tensor& rows, const Tensor& weight, const Optional& bias,
                        const Optional& low, const Optional& b, double scale, const Tensor& labels, double softcap,
                        const Tensor& row_weights, int64_t logit_bytes, bool with_gradients) {
    const HeadInput in = head_input(rows, weight, bias, low, b, scale, labels, softcap);
    HeadGradients grads;
    if (with_gradients) grads = gradients_wanted(in);
    const Tensor losses = label_losses(in, {logit_bytes}, row_weights, with_gradients ? &grads : nullptr);
    context->save_for_backward({grads.rows, grads.weight, grads.bias, grads.low, grads.b});
    // Weighted and summed in f64, so that the share does not depend on how many rows one batch has.
    return losses.to(at::kDouble).dot(row_weights.to(at::kDouble)).to(wide_type(rows));
  }

  static variable_list backward(AutogradContext* context, variable_list upstream) {
    variable_list grads = context->get_saved_variables();
    for (Tensor& grad : grads) {
      if (grad.defined()) grad = grad.mul(upstream[0].to(grad.scalar_type()));
    }
    grads.resize(11);
    return grads;
  }
};

}  // namespace

Tensor cross_entropy_share(const Tensor& hidden, const Linear& head, double final_softcap, const Batch& batch,
                           const Counts& counts, const ForwardOptions& options, const HeadChunks& chunks) {
  if (!(counts.tokens > 0)) fail(ExitCode::internal, "cross-entropy: the step counts no target tokens");
  const HeadInput in = labelled_rows(hidden, head, final_softcap, batch, options);
  const Tensor row_weights =
      at::index_select(batch.weights, 0, batch.target_rows).to(at::kDouble).div_(counts.tokens).to(wide_type(in.rows));
  bool trains = false;
  for (const Tensor* t : {&in.rows, &in.weight, &in.bias, &in.low, &in.b}) trains |= t->defined() && t->requires_grad();
  return CrossEntropy::apply(in.rows, in.weight, optional(in.bias), optional(in.low), optional(in.b), in.scale,
                             in.labels, in.softcap, row_weights, chunks.logit_bytes,
                             trains && at::GradMode::is_enabled());
}

}  // namespace prentice
