// LoRA on any linear layer: attach, list what trains, switch off, merge.
#pragma once

#include <string>
#include <vector>

#include "config/schema.h"
#include "core/tensor.h"
#include "model/model.h"

namespace prentice {

// Adds a LoRA to every linear that `section.targets` names (suffix names as in PEFT, one regular expression over the
// whole module name, or all-linear = every linear but the head), in `section.layers`. A ~ U(±1/sqrt(in)), or
// N(0, 1/R^2) when gaussian (PEFT's standard deviation 1/R); B = 0. A function of (seed, module name). With `init` the
// path of a PEFT folder, that folder decides ranks, alphas and targets. Tensors are f32 (f64 on an f64 model).
// Errors: `usage` when a target, pattern or layer matches nothing, when the model has an adapter already, and for what
// this version does not have; those of load_peft.
void attach_lora(Model&, const AdapterSection&, uint64_t seed);

// alpha / R, or alpha / sqrt(R) (Kalajdzievski 2023).
double lora_scale(double alpha, int64_t rank, bool rslora);

bool has_adapter(const Model&);

// The tensors that train, requires_grad set: the adapter's (PEFT's names without the base_model.model. prefix), or with
// AdapterKind::full every weight of the model in f32, by its Hugging Face name. Parts of a joined projection are the
// leaves and stay views of the joined storage. Calling it again gives the same tensors.
NamedTensors trainable(Model&, const AdapterSection&);

// While it lives, the model computes without its adapters. Guards may be nested.
class AdapterOff {
 public:
  explicit AdapterOff(Model&);
  ~AdapterOff();
  AdapterOff(const AdapterOff&) = delete;
  AdapterOff& operator=(const AdapterOff&) = delete;

 private:
  Model& model_;
  std::vector<bool> was_enabled_;  // by linear, in module order
};

Tensor merged_weight(const Tensor& weight, const Lora&);  // W + scale B A, computed in f32 (or f64), in W's dtype
// Folds every adapter into its weight, joined storage included. Errors: `usage` for an adapter on a tied head, whose
// weight is the embedding's too.
void merge(Model&);

}  // namespace prentice
