#include "model/model.h"

#include "core/host_copies.h"
#include "io/safetensors.h"
#include "model/make.h"

namespace prentice {

namespace {

// One walk for both constnesses: M is Model or const Model.
template <class M, class F>
void walk_linears(M& model, F&& f) {
  for (auto& layer : model.layers) visit_layer(layer, f, [](const Norm&) {});
  f(model.head);
}

template <class M, class F>
void walk_tensors(M& model, F&& f) {
  const auto tensors_of = [&](auto& part) { visit_tensors(part, f); };
  if (model.embed.defined()) f(model.spec.names.embed + ".weight", model.embed);
  for (auto& layer : model.layers) visit_layer(layer, tensors_of, tensors_of);
  visit_tensors(model.final_norm, f);
  if (!model.spec.tied_head) return visit_tensors(model.head, f);
  if (model.head.bias.defined()) f(model.head.name + ".bias", model.head.bias);
}

}  // namespace

void visit(Model& model, const std::function<void(const std::string&, Tensor&)>& f) { walk_tensors(model, f); }
void visit(const Model& model, const std::function<void(const std::string&, const Tensor&)>& f) {
  walk_tensors(model, f);
}
void visit_linears(Model& model, const std::function<void(Linear&)>& f) { walk_linears(model, f); }
void visit_linears(const Model& model, const std::function<void(const Linear&)>& f) { walk_linears(model, f); }

at::TensorOptions embed_options(const Model& model) {
  if (model.embed_blocks) return model.embed_blocks->options();
  return at::TensorOptions(model.embed.scalar_type()).device(device_of(model));
}

c10::Device device_of(const Model& model) { return model.final_norm.weight.device(); }

Linear head_at_hand(const Model& model) {
  Linear head = model.head;
  if (!is_quantized(head)) head.weight = Dense{on_device(dense_weight(head), device_of(model))};
  return head;
}

Model with_head_at_hand(const Model& model) {
  Model copy = model;
  copy.head = head_at_hand(model);
  return copy;
}

std::vector<TensorShape> expected_tensors(const ModelSpec& spec) {
  std::vector<TensorShape> shapes;
  visit(make_model(spec, {.dtype = at::kFloat, .device = at::kMeta}),
        [&](const std::string& name, const Tensor& tensor) {
          shapes.push_back({name, tensor.sizes().vec()});
        });
  return shapes;
}

int64_t parameter_count(const ModelSpec& spec) {
  int64_t count = 0;
  for (const auto& tensor : expected_tensors(spec)) count += element_count(tensor.shape);
  return count;
}

}  // namespace prentice
