#include "adapter/saved_modules.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>
#include <utility>

#include "core/error.h"
#include "core/wide_type.h"

namespace prentice {

namespace {

// The model's tensors by name, a tied head's among them.
std::vector<std::pair<std::string, Tensor*>> tensors_of(Model& model) {
  std::vector<std::pair<std::string, Tensor*>> tensors;
  visit_with_head(model, [&](const std::string& name, Tensor& tensor) { tensors.emplace_back(name, &tensor); });
  return tensors;
}

Tensor trainable_copy(const Tensor& tensor) {
  const auto type = wide_type(tensor);
  return tensor.detach().to(tensor.options().dtype(type), /*non_blocking=*/false, /*copy=*/true);
}

// The first quantized module that `word` names, or "".
std::string quantized_module(const Model& model, const std::string& word) {
  std::string found;
  if (model.embed_blocks && is_saved({word}, model.spec.names.embed + ".weight")) found = model.spec.names.embed;
  visit_linears(model, [&](const Linear& linear) {
    if (found.empty() && is_quantized(linear) && is_saved({word}, linear.name + ".weight")) found = linear.name;
  });
  return found;
}

const char* how_held(const Model& model) {
  return model.spec.blocks.empty() ? "in four bits" : "in the blocks of its GGUF file";
}

std::string head_weight(const Model& model) { return model.head.name + ".weight"; }
std::string embed_weight(const Model& model) { return model.spec.names.embed + ".weight"; }

}  // namespace

bool is_saved(const std::vector<std::string>& words, const std::string& tensor) {
  for (size_t end = tensor.rfind('.'); end != std::string::npos && end > 0; end = tensor.rfind('.', end - 1)) {
    const std::string_view module = std::string_view(tensor).substr(0, end);
    for (const auto& word : words) {
      if (module.ends_with(word)) return true;
    }
  }
  return false;
}

std::vector<KeyMistake> saved_mistakes(const Model& model, const std::vector<std::string>& words) {
  std::vector<std::string> tensors, modules;
  visit_with_head(model, [&](const std::string& name, const Tensor&) {
    tensors.push_back(name);
    const std::string module = name.substr(0, name.rfind('.'));
    const std::string last = module.substr(module.rfind('.') + 1);
    if (std::ranges::find(modules, last) == modules.end()) modules.push_back(last);
  });
  std::vector<KeyMistake> found;
  for (const auto& word : words) {
    if (const std::string held = quantized_module(model, word); !held.empty()) {
      found.push_back({.key = "adapter.modules_to_save",
                       .word = word,
                       .message = fmt::format("{} is held {}, and cannot train whole", held, how_held(model)),
                       .hint = model.spec.blocks.empty()
                                   ? "give it an adapter (adapter.targets), or model.quantize=none"
                                   : "give it an adapter (adapter.targets)"});
      continue;
    }
    if (std::ranges::any_of(tensors, [&](const auto& name) { return is_saved({word}, name); })) continue;
    const std::string near = closest_match(word, modules);
    found.push_back({.key = "adapter.modules_to_save",
                     .word = word,
                     .message = fmt::format("'{}' names no module of this model", word),
                     .hint = near.empty() ? fmt::format("its modules end with {}", fmt::join(modules, ", "))
                                          : fmt::format("did you mean {}?", near)});
  }
  return found;
}

bool is_saved_module(const std::vector<std::string>& words, const std::string& module) {
  const std::string text = "." + module + ".";
  return std::ranges::any_of(words, [&](const auto& word) { return text.find("." + word + ".") != std::string::npos; });
}

bool names_both_ends(const Model& model, const std::vector<std::string>& words) {
  return is_saved(words, embed_weight(model)) && is_saved(words, head_weight(model));
}

void untie(ModelSpec& spec) {
  spec.tied_head = false;
  spec.config["tie_word_embeddings"] = false;
  const Json* text = spec.config.find("text_config");
  if (text && text->find("tie_word_embeddings")) spec.config["text_config"]["tie_word_embeddings"] = false;
}

void save_modules(Model& model, const std::vector<std::string>& words, bool keep_tied) {
  throw_if_any(saved_mistakes(model, words));
  const auto all = tensors_of(model);  // before a tied model may become an untied one
  const bool tied = model.spec.tied_head;
  bool parted = false;
  for (const auto& [name, tensor] : all) {
    if (!is_saved(words, name)) continue;
    const bool is_end = name == embed_weight(model) || name == head_weight(model);
    parted |= tied && is_end && !keep_tied;
    if (tied && keep_tied && name == head_weight(model)) continue;  // follows the embedding
    model.saved.base.emplace_back(name, *tensor);
    *tensor = trainable_copy(*tensor);
  }
  if (parted) untie(model.spec);
  if (model.spec.tied_head && model.embed.defined()) model.head.weight = Dense{model.embed};
  model.saved.words = words;
}

NamedTensors saved_tensors(const Model& model) {
  std::set<std::string> names;
  for (const auto& [name, tensor] : model.saved.base) names.insert(name);
  NamedTensors tensors;
  visit(model, [&](const std::string& name, const Tensor& tensor) {
    if (names.contains(name)) tensors.emplace_back(name, tensor);
  });
  return tensors;
}

void swap_saved(Model& model) {
  if (model.saved.base.empty()) return;
  model.saved.enabled = !model.saved.enabled;
  for (const auto& [name, tensor] : tensors_of(model)) {
    for (auto& [saved, other] : model.saved.base) {
      if (saved == name) std::swap(*tensor, other);
    }
  }
  if (model.spec.tied_head && model.embed.defined()) model.head.weight = Dense{model.embed};
}

}  // namespace prentice
