#include "adapter/trainable.h"

#include "adapter/lora.h"
#include "adapter/saved_modules.h"
#include "config/adapter_rules.h"
#include "core/wide_type.h"
#include "model/make.h"

namespace prentice {

namespace {

Tensor leaf(const Tensor& tensor) {
  if (tensor.requires_grad()) return tensor;
  return tensor.to(wide_type(tensor)).detach().requires_grad_();
}

// The parts become leaves that are views of one f32 matrix: the optimizer moves the parts, the product reads the whole.
void make_leaves(Projection& projection) {
  if (!projection.joined.defined() || dense_weight(projection.parts[0]).requires_grad()) return;
  projection.joined = projection.joined.to(wide_type(projection.joined));
  int64_t row = 0;
  for (Linear& part : projection.parts) {
    const int64_t rows = dense_weight(part).size(0);
    part.weight = Dense{leaf(projection.joined.narrow(0, row, rows))};
    row += rows;
  }
}

NamedTensors all_weights(Model& model) {
  for (Layer& layer : model.layers) {
    visit_layer(
        layer, make_leaves, [](Linear&) {}, [](Norm&) {});
  }
  NamedTensors tensors;
  visit(model, [&](const std::string& name, Tensor& tensor) {
    tensor = leaf(tensor);
    tensors.emplace_back(name, tensor);
  });
  if (model.spec.tied_head) model.head.weight = Dense{model.embed};
  return tensors;
}

}  // namespace

NamedTensors trainable(Model& model, const AdapterSection& section) {
  if (section.kind == AdapterKind::full) return all_weights(model);
  NamedTensors tensors;
  const auto take = [&](const std::string& name, Tensor& tensor) {
    tensors.emplace_back(name, tensor.requires_grad_());
  };
  visit_loras(model, [&](const std::string& module, Lora& lora) {
    if (module != model.spec.names.embed) {
      return visit_trained(lora, [&](const char* ending, Tensor& tensor) { take(module + ending, tensor); });
    }
    take(module + ".lora_embedding_A", lora.a);
    take(module + ".lora_embedding_B", lora.b);
  });
  for (auto& [name, tensor] : saved_tensors(model)) take(name, tensor);
  return tensors;
}

HostEnds frozen_ends(const ModelSpec& spec, Quantize quantize, const AdapterSection& section) {
  if (section.kind == AdapterKind::full || trains_rounded(section)) return {};  // or they are in a file's blocks
  Model model = make_model(spec, {.dtype = at::kFloat, .device = at::kMeta, .quantize = quantize});
  attach_lora(model, section, 0);
  trainable(model, section);
  const Tensor head = is_quantized(model.head) ? Tensor() : dense_weight(model.head);
  HostEnds ends{.embed = model.embed.defined() && !model.embed.requires_grad() && !model.embed_lora,
                .head = head.defined() && !head.requires_grad() && !model.head.lora && spec.labels == 0};
  if (spec.tied_head) ends.embed = ends.head = ends.embed && ends.head;
  return ends;
}

}  // namespace prentice
