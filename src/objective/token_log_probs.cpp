#include "objective/token_log_probs.h"

#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/custom_function.h>

namespace prentice {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;
using Optional = std::optional<Tensor>;

// The first five arguments are those of HeadInput.
struct TokenLogProbs : torch::autograd::Function<TokenLogProbs> {
  static Tensor forward(AutogradContext* context, const Tensor& rows, const Tensor& weight, const Optional& bias,
                        const Optional& low, const Optional& b, double scale, const Tensor& labels, double softcap,
                        int64_t logit_bytes) {
    const HeadInput in = head_input(rows, weight, bias, low, b, scale, labels, softcap);
    context->save_for_backward({rows, weight, in.bias, in.low, in.b, labels});
    context->saved_data["scale"] = scale;
    context->saved_data["softcap"] = softcap;
    context->saved_data["logit_bytes"] = logit_bytes;
    return label_losses(in, {logit_bytes}).neg_();
  }

  static variable_list backward(AutogradContext* context, variable_list upstream) {
    const auto saved = context->get_saved_variables();
    auto& data = context->saved_data;
    const HeadInput in{saved[0], saved[1],
                       saved[2], saved[3],
                       saved[4], data["scale"].toDouble(),
                       saved[5], data["softcap"].toDouble()};
    HeadGradients grads = gradients_wanted(in);
    label_losses(in, {data["logit_bytes"].toInt()}, upstream[0].neg(), &grads);
    const auto typed = [](const Tensor& grad, const Tensor& of) {
      return grad.defined() ? grad.to(of.scalar_type()) : grad;
    };
    return {grads.rows,
            typed(grads.weight, in.weight),
            typed(grads.bias, in.bias),
            grads.low,
            typed(grads.b, in.b),
            {},
            {},
            {},
            {}};
  }
};

}  // namespace

Tensor token_log_probs(const Tensor& hidden, const Linear& head, double final_softcap, const Batch& batch,
                       const ForwardOptions& options, const HeadChunks& chunks) {
  const HeadInput in = labelled_rows(hidden, head, final_softcap, batch, options);
  return TokenLogProbs::apply(in.rows, in.weight, optional(in.bias), optional(in.low), optional(in.b), in.scale,
                              in.labels, in.softcap, chunks.logit_bytes);
}

Tensor label_log_probs(const Tensor& hidden, const Linear& head, double final_softcap, const Batch& batch,
                       const HeadChunks& chunks) {
  const at::NoGradGuard no_grad;
  return label_losses(labelled_rows(hidden, head, final_softcap, batch, {}), chunks).neg_();
}

Tensor label_log_probs(const Tensor& hidden, const Linear& head, double final_softcap, const Tensor& rows,
                       const Tensor& labels, const HeadChunks& chunks) {
  const at::NoGradGuard no_grad;
  return label_losses(chosen_rows(hidden, head, final_softcap, rows, labels), chunks).neg_();
}

}  // namespace prentice
