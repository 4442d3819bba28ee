#include "nn/recompute.h"

#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include <utility>

#include "nn/offloaded.h"

namespace prentice {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct Body : torch::CustomClassHolder {
  std::function<Tensor(const Tensor&)> block;
  std::shared_ptr<OffloadedInputs> inputs;  // where x waits; without them it is saved as any other tensor is
  size_t index = 0;
};

struct Recompute : torch::autograd::Function<Recompute> {
  // Inputs: x, then the parameters.
  static Tensor forward(AutogradContext* context, at::TensorList inputs, const c10::intrusive_ptr<Body>& body) {
    variable_list saved = inputs.vec();
    if (body->inputs) body->index = body->inputs->keep(std::exchange(saved[0], Tensor()));
    context->save_for_backward(saved);
    context->saved_data["body"] = c10::IValue::make_capsule(body);
    return body->block(inputs[0]);
  }

  static variable_list backward(AutogradContext* context, variable_list grads) {
    const auto capsule = context->saved_data["body"].toCapsule();
    const Body& body = static_cast<const Body&>(*capsule);
    variable_list inputs = context->get_saved_variables();
    if (body.inputs) inputs[0] = body.inputs->take(body.index);
    inputs[0] = inputs[0].detach().set_requires_grad(context->needs_input_grad(0));
    const c10::AutoGradMode with_grad(true);
    const Tensor y = body.block(inputs[0]);
    variable_list wanted;
    for (const Tensor& input : inputs) {
      if (input.requires_grad()) wanted.push_back(input);
    }
    const variable_list found = torch::autograd::grad({y}, wanted, grads, /*retain_graph=*/false,
                                                      /*create_graph=*/false, /*allow_unused=*/true);
    variable_list results(inputs.size() + 1);  // one more for the body
    for (size_t i = 0, next = 0; i < inputs.size(); ++i) {
      if (inputs[i].requires_grad()) results[i] = found[next++];
    }
    return results;
  }
};

}  // namespace

Tensor recompute(const std::function<Tensor(const Tensor&)>& block, const Tensor& x,
                 const std::vector<Tensor>& parameters, const std::shared_ptr<OffloadedInputs>& inputs) {
  auto body = c10::make_intrusive<Body>();
  body->block = block, body->inputs = inputs;
  std::vector<Tensor> all = {x};
  all.insert(all.end(), parameters.begin(), parameters.end());
  return Recompute::apply(at::TensorList(all), body);
}

}  // namespace prentice
