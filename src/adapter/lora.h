// LoRA and its kin (DoRA, PiSSA, modules that train whole): attach, visit, switch off.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "config/schema.h"
#include "core/tensor.h"
#include "model/model.h"

namespace prentice {

// Adds a LoRA to every module that `section.targets` names (suffix names as in PEFT, one regular expression over the
// whole module name, or all-linear = every linear but the head), in `section.layers`: linear layers and the embedding.
// A ~ U(±1/sqrt(in)), or N(0, 1/R^2) when gaussian (PEFT's standard deviation 1/R), and B = 0; on the embedding A = 0
// and B ~ N(0, 1). A function of (seed, module name). `pissa` takes the R largest singular parts out of the weight and
// trains them (adapter/pissa.h). With kind dora every layer has a magnitude, at first the norms of the weight's rows.
// `modules_to_save` train whole (adapter/saved_modules.h). With `init` the path of a PEFT folder, that folder decides
// all of this. Tensors are f32 (f64 on an f64 model). Errors: `usage` with all adapter_mistakes (adapter/choice.h), or
// when the model has an adapter already; those of load_peft.
void attach_lora(Model&, const AdapterSection&, uint64_t seed);

// alpha / R, or alpha / sqrt(R) (Kalajdzievski 2023).
double lora_scale(double alpha, int64_t rank, bool rslora);

bool has_adapter(const Model&);

// Calls f(module, lora) for the embedding's adapter, if it has one, and for the layers' in module order.
void visit_loras(Model&, const std::function<void(const std::string&, Lora&)>& f);
void visit_loras(const Model&, const std::function<void(const std::string&, const Lora&)>& f);

// While it lives, the model computes without its adapters. Guards may be nested.
class AdapterOff {
 public:
  explicit AdapterOff(Model&);
  ~AdapterOff();
  AdapterOff(const AdapterOff&) = delete;
  AdapterOff& operator=(const AdapterOff&) = delete;

 private:
  Model& model_;
  std::vector<bool> was_enabled_;  // in the order of visit_loras
  bool was_swapped_ = false;       // the base's tensors stand in the place of modules saved whole
};

}  // namespace prentice
