#include "adapter/frozen.h"

#include <ATen/ops/clone.h>
#include <c10/core/GradMode.h>

#include <set>

#include "adapter/lora.h"
#include "nn/served_weight.h"

namespace prentice {

Model frozen_copy(const Model& model) {
  const c10::NoGradGuard no_grad;
  const auto freeze = [](auto&&, Tensor& tensor) { tensor = tensor.detach().clone(); };
  Model copy = model;
  visit_loras(copy, [&](const std::string&, Lora& lora) {
    visit_trained(lora, freeze);
    if (lora.served) lora.served = std::make_shared<ServedWeight>(*lora.served);
  });
  std::set<std::string> saved;
  for (const auto& [name, tensor] : copy.saved.base) saved.insert(name);
  visit(copy, [&](const std::string& name, Tensor& tensor) {
    if (saved.contains(name)) freeze(name, tensor);
  });
  if (copy.spec.tied_head && copy.embed.defined()) copy.head.weight = Dense{copy.embed};
  return copy;
}

}  // namespace prentice
