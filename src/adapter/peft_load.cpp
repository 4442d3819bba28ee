#include <map>

#include "adapter/lora.h"
#include "adapter/peft.h"
#include "adapter/peft_folder.h"
#include "adapter/saved_modules.h"
#include "core/error.h"
#include "core/wide_type.h"
#include "nn/dora.h"

namespace prentice {

namespace {

namespace fs = std::filesystem;

// `weight`: type and device of what it is attached to.
Tensor on_model(const Tensor& values, const at::TensorOptions& weight) {
  return values.to(weight.dtype(wide_type(weight.dtype().toScalarType())).requires_grad(false));
}

Lora lora_of(const PeftFactors& factors, const PeftConfig& config, const at::TensorOptions& weight, int64_t module) {
  Lora lora{.a = on_model(PeftFolder::values(*factors.a), weight),
            .b = on_model(PeftFolder::values(*factors.b), weight),
            .scale = factors.scale,
            .alpha = factors.alpha,
            .rslora = config.rslora,
            .dropout = config.dropout,
            .module = module};
  if (factors.magnitude) lora.magnitude = on_model(PeftFolder::values(*factors.magnitude), weight);
  return lora;
}

void attach_factors(Model& model, const PeftFolder& folder) {
  auto next = folder.factors().begin();
  const auto end = folder.factors().end();
  if (next != end && next->embedding) {
    model.embed_lora = lora_of(*next++, folder.config(), embed_options(model), 0);
  }
  int64_t module = 0;
  visit_linears(model, [&](Linear& linear) {
    const int64_t index = module++;
    if (next == end || next->module != linear.name) return;
    linear.lora = lora_of(*next++, folder.config(), weight_options(linear), index);
    if (linear.lora->magnitude.defined()) linear.lora->row_squares = row_squares(weight_values(linear));
  });
}

void fill_whole(Model& model, const PeftFolder& folder) {
  std::map<std::string, const TensorView*> views;
  for (const auto& [tensor, view] : folder.whole()) views[tensor] = view;
  visit(model, [&](const std::string& name, Tensor& tensor) {
    const auto found = views.find(name);
    if (found != views.end()) tensor.copy_(PeftFolder::values(*found->second));
  });
}

}  // namespace

void load_peft(Model& model, const fs::path& path) {
  if (has_adapter(model)) fail(ExitCode::usage, path.string() + ": the model has an adapter already", "merge it first");
  const PeftFolder folder = PeftFolder::open(path, model);
  folder.check_copies([&](const std::string& name) {
    if (name == model.head.name + ".bias") return model.head.bias;
    return name == model.head.name + ".weight" ? dense_weight(model.head) : model.embed;
  });
  with_context(ExitCode::model, path.string(), [&] {
    attach_factors(model, folder);
    save_modules(model, folder.config().modules_to_save, folder.config().ensure_tying);
    fill_whole(model, folder);
  });
}

}  // namespace prentice
