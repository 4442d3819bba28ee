// LoRA on any linear layer: attach, list what trains, switch off, merge.
#pragma once

#include <string>
#include <vector>

#include "config/schema.h"
#include "core/tensor.h"
#include "model/model.h"

namespace prentice {

// Adds a LoRA to every linear that `section.targets` names (suffix names as in PEFT, one regular expression over the
// whole module name, or all-linear = every linear but the head). A ~ U(±1/sqrt(in)), or N(0, 1/R) when gaussian; B = 0.
// A function of (seed, module name). Errors: `usage` when a target matches nothing.
void attach_lora(Model&, const AdapterSection&, uint64_t seed);

// The tensors that train, requires_grad set: the adapter's (PEFT's names without the base_model.model. prefix), or with
// AdapterKind::full every weight of the model in f32.
NamedTensors trainable(Model&, const AdapterSection&);

// While it lives, the model computes without its adapters.
class AdapterOff {
 public:
  explicit AdapterOff(Model&);
  ~AdapterOff();
  AdapterOff(const AdapterOff&) = delete;

 private:
  Model& model_;
};

Tensor merged_weight(const Tensor& weight, const Lora&);  // W + scale B A, computed in f32, in W's dtype
void merge(Model&);                                       // folds every adapter into its weight

}  // namespace prentice
