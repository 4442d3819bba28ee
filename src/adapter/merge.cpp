#include "adapter/merge.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <c10/core/GradMode.h>

#include "adapter/lora.h"
#include "adapter/saved_modules.h"
#include "core/wide_type.h"

namespace prentice {

namespace {

// W + scale B A
Tensor added(const Tensor& weight, const Tensor& b, const Tensor& a, double scale) {
  const auto wide = wide_type(weight);
  return at::addmm(weight.to(wide), b.to(wide), a.to(wide), 1, scale);
}

// Modules that were saved whole become the model's own again, in the type of what they replaced.
void keep_saved(Model& model) {
  std::vector<std::pair<std::string, c10::ScalarType>> types;
  for (const auto& [name, base] : model.saved.base) types.emplace_back(name, base.scalar_type());
  visit(model, [&](const std::string& name, Tensor& tensor) {
    for (const auto& [saved, type] : types) {
      if (saved == name) tensor = tensor.detach().to(type);
    }
  });
  if (model.spec.tied_head) model.head.weight = Dense{model.embed};
  model.saved = {};
}

void fold(Linear& linear, bool shares_storage) {
  if (!linear.lora) return;
  const Tensor merged = merged_weight(linear);
  if (shares_storage) {
    dense_weight(linear).copy_(merged);  // through the view, so that the joined product sees it
  } else {
    linear.weight = Dense{merged};  // never into memory that may be a file's
  }
  linear.lora.reset();
}

}  // namespace

Tensor merged_weight(const Tensor& weight, const Lora& lora) {
  const c10::NoGradGuard no_grad;
  return added(weight, lora.b, lora.a, lora.scale).to(weight.scalar_type());
}

Tensor merged_weight(const Linear& linear) {
  const c10::NoGradGuard no_grad;
  const Lora& lora = *linear.lora;
  const Tensor& weight = dense_weight(linear);
  if (!lora.magnitude.defined()) return merged_weight(weight, lora);
  const Tensor whole = added(weight, lora.b, lora.a, lora.scale);
  const Tensor norms = at::linalg_vector_norm(whole, 2, at::IntArrayRef{1}, true);
  return (whole * (lora.magnitude.to(whole.scalar_type()).unsqueeze(1) / norms)).to(weight.scalar_type());
}

Tensor merged_embedding(const Model& model) {
  const c10::NoGradGuard no_grad;
  const Lora& lora = *model.embed_lora;
  return added(model.embed, lora.a.t(), lora.b.t(), lora.scale).to(model.embed.scalar_type());
}

void merge(Model& model) {
  const c10::NoGradGuard no_grad;
  keep_saved(model);
  if (model.spec.tied_head && (model.head.lora || model.embed_lora)) untie(model.spec);
  if (model.embed_lora) model.embed = merged_embedding(model);
  model.embed_lora.reset();
  for (Layer& layer : model.layers) {
    visit_layer(
        layer,
        [&](Projection& projection) {
          for (Linear& part : projection.parts) fold(part, projection.joined.defined());
        },
        [&](Linear& linear) { fold(linear, false); }, [](Norm&) {});
  }
  fold(model.head, false);
}

}  // namespace prentice
