#include "adapter/lora.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <cmath>

#include "adapter/choice.h"
#include "adapter/init.h"
#include "adapter/peft.h"
#include "adapter/pissa.h"
#include "adapter/saved_modules.h"
#include "adapter/targets.h"
#include "core/error.h"
#include "core/wide_type.h"
#include "nn/dora.h"

namespace prentice {

namespace {

template <class T>
EndPatterns<T> in_order(const std::map<std::string, T>& patterns) {
  return {patterns.begin(), patterns.end()};
}

struct Size {
  int64_t rank = 0;
  double alpha = 0;
};

Lora empty_lora(const Size& size, const AdapterSection& section) {
  Lora lora{.scale = lora_scale(size.alpha, size.rank, section.rslora), .alpha = size.alpha, .rslora = section.rslora};
  lora.dropout = section.dropout;
  return lora;
}

at::TensorOptions trained_options(const at::TensorOptions& weight) {
  return weight.dtype(wide_type(weight.dtype().toScalarType())).requires_grad(false);
}

void attach_fresh(Linear& linear, int64_t module, const Size& size, const AdapterSection& section, uint64_t seed) {
  Lora& lora = linear.lora.emplace(empty_lora(size, section));
  const auto options = trained_options(weight_options(linear));
  const std::string name = linear.name + ".lora_A.weight";
  lora.module = module;
  if (section.init == "pissa") return start_from_principal_part(linear, size.rank, seed);
  lora.b = at::zeros({linear.out_features, size.rank}, options);
  if (options.device().is_meta()) {  // a plan: shapes are all there is
    lora.a = at::empty({size.rank, linear.in_features}, options);
  } else {
    lora.a = (section.init == "gaussian"
                  ? normal_matrix(size.rank, linear.in_features, 1.0 / static_cast<double>(size.rank), seed, name)
                  : uniform_matrix(size.rank, linear.in_features,
                                   1 / std::sqrt(static_cast<double>(linear.in_features)), seed, name))
                 .to(options);
  }
  if (section.kind != AdapterKind::dora) return;
  lora.row_squares = row_squares(weight_values(linear));
  lora.magnitude = lora.row_squares.sqrt();
}

void attach_to_embedding(Model& model, const Size& size, const AdapterSection& section, uint64_t seed) {
  const std::string& name = model.spec.names.embed;
  Lora& lora = model.embed_lora.emplace(empty_lora(size, section));
  const auto options = trained_options(embed_options(model));
  lora.a = at::zeros({size.rank, model.spec.vocab}, options);
  lora.b = options.device().is_meta()
               ? at::empty({model.spec.hidden, size.rank}, options)
               : normal_matrix(model.spec.hidden, size.rank, 1, seed, name + ".lora_embedding_B").to(options);
}

void go_on_from(Model& model, const AdapterSection& section) {
  load_peft(model, section.init);
  visit_loras(model, [&](const std::string&, Lora& lora) { lora.dropout = section.dropout; });
  const auto& head = model.head.lora;
  if (head && head->magnitude.defined() && head->dropout > 0) throw_if_any({dropout_on_head(model.head.name)});
}

}  // namespace

double lora_scale(double alpha, int64_t rank, bool rslora) {
  const double r = static_cast<double>(rank);
  return alpha / (rslora ? std::sqrt(r) : r);
}

void visit_loras(Model& model, const std::function<void(const std::string&, Lora&)>& f) {
  if (model.embed_lora) f(model.spec.names.embed, *model.embed_lora);
  visit_linears(model, [&](Linear& linear) {
    if (linear.lora) f(linear.name, *linear.lora);
  });
}

void visit_loras(const Model& model, const std::function<void(const std::string&, const Lora&)>& f) {
  if (model.embed_lora) f(model.spec.names.embed, *model.embed_lora);
  visit_linears(model, [&](const Linear& linear) {
    if (linear.lora) f(linear.name, *linear.lora);
  });
}

bool has_adapter(const Model& model) {
  bool found = !model.saved.base.empty();
  visit_loras(model, [&](const std::string&, const Lora&) { found = true; });
  return found;
}

void attach_lora(Model& model, const AdapterSection& section, uint64_t seed) {
  if (has_adapter(model)) {
    fail(ExitCode::usage, "the model has an adapter already", "merge it first, or go on from it with adapter.init");
  }
  if (!starts_fresh(section)) return go_on_from(model, section);
  throw_if_any(adapter_mistakes(model, section));
  const auto chosen = chosen_modules(model, section);
  const double alpha = section.alpha.value_or(section.rslora ? 8 : 32);
  const auto ranks = in_order(section.rank_pattern);
  const auto alphas = in_order(section.alpha_pattern);
  const auto takes = [&](const std::string& name) { return std::ranges::find(chosen, name) != chosen.end(); };
  const auto size = [&](const std::string& name) {
    return Size{value_for(name, ranks, section.rank), value_for(name, alphas, alpha)};
  };
  const std::string& embed = model.spec.names.embed;
  if (takes(embed)) attach_to_embedding(model, size(embed), section, seed);
  int64_t module = 0;
  visit_linears(model, [&](Linear& linear) {
    const int64_t index = module++;
    if (takes(linear.name)) attach_fresh(linear, index, size(linear.name), section, seed);
  });
  save_modules(model, section.modules_to_save, names_both_ends(model, section.modules_to_save));
}

AdapterOff::AdapterOff(Model& model) : model_(model), was_swapped_(!model.saved.enabled) {
  visit_loras(model, [&](const std::string&, Lora& lora) {
    was_enabled_.push_back(lora.enabled);
    lora.enabled = false;
  });
  if (!was_swapped_) swap_saved(model);
}

AdapterOff::~AdapterOff() {
  size_t i = 0;
  visit_loras(model_, [&](const std::string&, Lora& lora) { lora.enabled = was_enabled_[i++]; });
  if (!was_swapped_) swap_saved(model_);
}

}  // namespace prentice
