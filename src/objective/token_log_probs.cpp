#include "objective/token_log_probs.h"

#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/custom_function.h>

namespace prentice {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;
using Optional = std::optional<Tensor>;

// What the backward pass needs beside tensors that are differentiated.
struct HeldInput : torch::CustomClassHolder {
  HeadInput in;  // without its tensors
  int64_t logit_bytes = 0;
};

// The first five arguments are the tensors of the input, for their gradients.
struct TokenLogProbs : torch::autograd::Function<TokenLogProbs> {
  static Tensor forward(AutogradContext* context, const Tensor& rows, const Optional& weight, const Optional& bias,
                        const Optional& low, const Optional& b, const HeadInput& in, int64_t logit_bytes) {
    const Tensor none;
    context->save_for_backward(
        {rows, weight.value_or(none), bias.value_or(none), low.value_or(none), b.value_or(none), in.labels});
    auto held = c10::make_intrusive<HeldInput>();
    held->in = {.scale = in.scale, .softcap = in.softcap, .blocks = in.blocks};
    held->logit_bytes = logit_bytes;
    context->saved_data["held"] = c10::IValue::make_capsule(held);
    return label_losses(in, {logit_bytes}).neg_();
  }

  static variable_list backward(AutogradContext* context, variable_list upstream) {
    const auto saved = context->get_saved_variables();
    const auto holder = context->saved_data["held"].toCapsule();
    const auto& held = static_cast<const HeldInput&>(*holder);
    HeadInput in = held.in;
    in.rows = saved[0], in.weight = saved[1], in.bias = saved[2], in.low = saved[3], in.b = saved[4];
    in.labels = saved[5];
    HeadGradients grads = gradients_wanted(in);
    label_losses(in, {held.logit_bytes}, upstream[0].neg(), &grads);
    const auto typed = [](const Tensor& grad, const Tensor& of) {
      return grad.defined() ? grad.to(of.scalar_type()) : grad;
    };
    return {grads.rows, typed(grads.weight, in.weight), typed(grads.bias, in.bias), grads.low, typed(grads.b, in.b), {},
            {}};
  }
};

}  // namespace

Tensor token_log_probs(const Tensor& hidden, const Linear& head, double final_softcap, const Batch& batch,
                       const ForwardOptions& options, const HeadChunks& chunks) {
  const HeadInput in = labelled_rows(hidden, head, final_softcap, batch, options);
  return TokenLogProbs::apply(in.rows, optional(in.weight), optional(in.bias), optional(in.low), optional(in.b), in,
                              chunks.logit_bytes);
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
