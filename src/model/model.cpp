#include "model/model.h"

#include "model/make.h"

namespace prentice {

namespace {

// One walk for both constnesses: M is Model or const Model.
template <class M, class F>
void walk_linears(M& model, F&& f) {
  for (auto& layer : model.layers) {
    for (auto& part : layer.qkv.parts) f(part);
    f(layer.o);
    for (auto& part : layer.gate_up.parts) f(part);
    f(layer.down);
  }
  f(model.head);
}

template <class L, class F>
void walk_linear(L& linear, F&& f) {
  f(linear.name + ".weight", std::get<Dense>(linear.weight).weight);
  if (linear.bias.defined()) f(linear.name + ".bias", linear.bias);
}

template <class N, class F>
void walk_norm(N& norm, F&& f) {
  f(norm.name + ".weight", norm.weight);
  if (norm.bias.defined()) f(norm.name + ".bias", norm.bias);
}

template <class M, class F>
void walk_tensors(M& model, F&& f) {
  f("model.embed_tokens.weight", model.embed);
  for (auto& layer : model.layers) {
    for (auto& part : layer.qkv.parts) walk_linear(part, f);
    walk_linear(layer.o, f);
    for (auto& part : layer.gate_up.parts) walk_linear(part, f);
    walk_linear(layer.down, f);
    walk_norm(layer.input_norm, f);
    if (layer.mlp_norm) walk_norm(*layer.mlp_norm, f);
  }
  walk_norm(model.final_norm, f);
  if (!model.spec.tied_head) walk_linear(model.head, f);
}

}  // namespace

void visit(Model& model, const std::function<void(const std::string&, Tensor&)>& f) { walk_tensors(model, f); }
void visit(const Model& model, const std::function<void(const std::string&, const Tensor&)>& f) {
  walk_tensors(model, f);
}
void visit_linears(Model& model, const std::function<void(Linear&)>& f) { walk_linears(model, f); }
void visit_linears(const Model& model, const std::function<void(const Linear&)>& f) { walk_linears(model, f); }

std::vector<TensorShape> expected_tensors(const ModelSpec& spec) {
  std::vector<TensorShape> shapes;
  visit(make_model(spec, {.dtype = at::kFloat, .device = at::kMeta}),
        [&](const std::string& name, const Tensor& tensor) {
          shapes.push_back({name, tensor.sizes().vec()});
        });
  return shapes;
}

}  // namespace prentice
