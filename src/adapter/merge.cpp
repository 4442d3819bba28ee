#include "adapter/merge.h"

#include <c10/core/GradMode.h>

#include "adapter/lora.h"
#include "adapter/saved_modules.h"
#include "core/wide_type.h"

namespace prentice {

namespace {

// In the wide type, a copy.
Tensor merged(const Tensor& weight, const Tensor& a, const Tensor& b, double scale, const Tensor& magnitude) {
  const auto wide = wide_type(weight);
  Tensor rows = weight.to(wide, /*non_blocking=*/false, /*copy=*/true);
  merge_rows(rows, a.to(wide), b.to(wide), scale, magnitude.defined() ? magnitude.to(wide) : magnitude);
  return rows.to(weight.scalar_type());
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
  if (model.spec.tied_head && model.embed.defined()) model.head.weight = Dense{model.embed};
  model.saved = {};
}

void fold(Linear& linear, bool shares_storage) {
  if (!linear.lora) return;
  const Tensor merged = merged_weight(weight_values(linear), *linear.lora);
  if (shares_storage) {
    dense_weight(linear).copy_(merged);  // through the view, so that the joined product sees it
  } else {
    linear.weight = Dense{merged};  // never into memory that may be a file's, nor into four bits
  }
  linear.lora.reset();
}

}  // namespace

Tensor merged_weight(const Tensor& weight, const Lora& lora) {
  const c10::NoGradGuard no_grad;
  return merged(weight, lora.a, lora.b, lora.scale, lora.magnitude);
}

void merge(Model& model) {
  const c10::NoGradGuard no_grad;
  keep_saved(model);
  if (model.spec.tied_head && (model.head.lora || model.embed_lora)) untie(model.spec);
  if (const auto& lora = model.embed_lora) {  // E + scale (B A)^T: the factors change places
    model.embed = merged(model.embed, lora->b.t(), lora->a.t(), lora->scale, {});
  }
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
