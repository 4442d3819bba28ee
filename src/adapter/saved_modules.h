// Modules that an adapter trains and stores whole (PEFT's modules_to_save): embedding, head, norms, or any linear layer
// with what belongs to it. Separate from lora.h because they have no factors: a copy in f32 stands in the base's place.
#pragma once

#include <string>
#include <vector>

#include "config/adapter_rules.h"
#include "model/model.h"

namespace prentice {

// Whether one of `words` names the module of this tensor, or a module around it, by PEFT's rule: the module's name ends
// with it ("norm" is every norm).
bool is_saved(const std::vector<std::string>& words, const std::string& tensor);
// One mistake of adapter.modules_to_save for each of `words` that names no module of the model, or a quantized one.
std::vector<KeyMistake> saved_mistakes(const Model&, const std::vector<std::string>& words);
// Whether a module is named as saved, or lies in one: by whole parts of the name, which is how PEFT keeps targets out.
bool is_saved_module(const std::vector<std::string>& words, const std::string& module);

// As visit(), and also a tied head's weight, which is the embedding, under the head's name.
template <class M, class F>
void visit_with_head(M& model, F&& f) {
  visit(model, f);
  if (model.spec.tied_head && !is_quantized(model.head))
    f(model.head.name + ".weight", std::get<Dense>(model.head.weight).weight);
}

// Puts f32 copies (f64 in an f64 model) in the place of the tensors that `words` name, and keeps the base's in
// model.saved. On a tied model the words decide: embedding and head both, they stay one weight (PEFT's
// ensure_weight_tying); one of them alone, they part. Errors: `usage` for a word that names no module.
void save_modules(Model&, const std::vector<std::string>& words, bool keep_tied);

// Whether `words` name both the embedding and the head of a tied model.
bool names_both_ends(const Model&, const std::vector<std::string>& words);

// The copies, by tensor name, in the model's order; one for a weight that two modules share.
NamedTensors saved_tensors(const Model&);

// Exchanges the copies and what the base has in their place.
void swap_saved(Model&);

// From here on the embedding and the head are two weights.
void untie(ModelSpec&);

}  // namespace prentice
