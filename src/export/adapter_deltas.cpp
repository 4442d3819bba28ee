#include "export/adapter_deltas.h"

#include <ATen/TensorOperators.h>

#include <utility>

#include "adapter/lora.h"
#include "adapter/merge.h"
#include "adapter/peft_folder.h"
#include "core/error.h"
#include "model/make.h"

namespace prentice {

namespace {

Tensor on_host(const Tensor& tensor) { return tensor.detach().to(at::kCPU, at::kFloat).contiguous(); }

// Of an embedding E + scale (B A)^T: the factors change places.
AdapterDelta delta_of(const Tensor& a, const Tensor& b, double scale, bool embedding) {
  if (embedding) return {.a = on_host(b.t()), .b = on_host(a.t()), .scale = scale};
  return {.a = on_host(a), .b = on_host(b), .scale = scale};
}

}  // namespace

AdapterChanges read_adapter_changes(const std::filesystem::path& path, const ModelSpec& spec,
                                    const std::function<Tensor(const std::string&)>& of_base) {
  const PeftFolder folder = PeftFolder::open(path, make_model(spec, {.dtype = at::kFloat, .device = at::kMeta}));
  folder.check_copies(of_base);
  AdapterChanges changes{.unties = folder.unties(), .file = folder.keep()};
  with_context(ExitCode::model, path.string(), [&] {
    for (const auto& factors : folder.factors()) {
      auto& delta = changes.deltas[factors.module + ".weight"];
      delta =
          delta_of(PeftFolder::values(*factors.a), PeftFolder::values(*factors.b), factors.scale, factors.embedding);
      if (factors.magnitude) delta.magnitude = on_host(PeftFolder::values(*factors.magnitude));
    }
  });
  for (const auto& [tensor, view] : folder.whole()) changes.replaced[tensor] = view;
  return changes;
}

AdapterChanges adapter_changes(const Model& model) {
  AdapterChanges changes;
  const std::string& embed = model.spec.names.embed;
  visit_loras(model, [&](const std::string& module, const Lora& lora) {
    auto& delta = changes.deltas[module + ".weight"];
    delta = delta_of(lora.a, lora.b, lora.scale, module == embed);
    if (lora.magnitude.defined()) delta.magnitude = on_host(lora.magnitude);
  });
  changes.unties = model.spec.tied_head && (model.embed_lora || model.head.lora);
  return changes;
}

void apply_delta(const AdapterDelta& delta, int64_t first, Tensor& rows) {
  const auto part = [&](const Tensor& whole) {
    return whole.defined() ? whole.narrow(0, first, rows.size(0)) : Tensor();
  };
  merge_rows(rows, delta.a, part(delta.b), delta.scale, part(delta.magnitude));
}

}  // namespace prentice
