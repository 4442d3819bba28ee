#include <ATen/ops/addmm.h>
#include <c10/core/GradMode.h>

#include "adapter/lora.h"
#include "core/error.h"

namespace prentice {

Tensor merged_weight(const Tensor& weight, const Lora& lora) {
  const c10::NoGradGuard no_grad;
  const auto wide = weight.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const Tensor a = lora.a.to(wide), b = lora.b.to(wide);
  return at::addmm(weight.to(wide), b, a, 1, lora.scale).to(weight.scalar_type());
}

void merge(Model& model) {
  const c10::NoGradGuard no_grad;
  if (model.spec.tied_head && model.head.lora) {
    fail(ExitCode::usage, "the adapter on " + model.head.name + " cannot be merged: its weight is the embedding's too",
         "leave the head out of adapter.targets");
  }
  const auto fold = [](Linear& linear, bool shares_storage) {
    if (!linear.lora) return;
    const Tensor merged = merged_weight(dense_weight(linear), *linear.lora);
    if (shares_storage) {
      dense_weight(linear).copy_(merged);  // through the view, so that the joined product sees it
    } else {
      linear.weight = Dense{merged};  // never into memory that may be a file's
    }
    linear.lora.reset();
  };
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
