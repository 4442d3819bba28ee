#include "recipes/expressions.h"

#include <fmt/format.h>

#include <algorithm>

#include "adapter/targets.h"
#include "config/read.h"
#include "core/error.h"
#include "export/gguf_names.h"
#include "text/chat.h"

namespace prentice {

namespace {

std::string to_text(const Position& position) {
  if (position.line == 0) return position.file.empty() ? "" : position.file + ": ";
  return fmt::format("{}:{}:{}: ", position.file, position.line, position.column);
}

// Where the user wrote `name` below a map key ({q_proj: 8}), or an item of a list; else where the key's value begins.
std::string place_below(const RecipeFacts& recipe, std::string_view key, const std::string& name) {
  const auto found = recipe.given.find(std::string(key));
  if (found == recipe.given.end()) return "";
  for (const auto& member : found->second.members()) {
    if (member.key == name) return to_text(member.position);
  }
  for (const auto& item : found->second.items()) {
    if (item.is_scalar() && item.text() == name) return to_text(item.position());
  }
  return place_of(recipe, key);
}

// Runs `parse`; what it finds wrong is told as a mistake of `key`, at its place.
template <class Parse>
void at_place(const std::string& place, std::string_view key, Parse&& parse) {
  with_context(ExitCode::usage, fmt::format("{}{}", place, key), parse);
}

void check_adapter(const AdapterSection& adapter, const RecipeFacts& recipe) {
  const auto& targets = adapter.targets;
  if (targets.size() == 1 && looks_like_pattern(targets[0])) {
    at_place(place_of(recipe, "adapter.targets"), "adapter.targets", [&] { Pattern pattern(targets[0]); });
  }
  const auto check_keys = [&](std::string_view key, const auto& patterns) {
    for (const auto& [pattern, value] : patterns) {
      at_place(place_below(recipe, key, pattern), key, [&] { end_pattern(pattern); });
    }
  };
  check_keys("adapter.rank_pattern", adapter.rank_pattern);
  check_keys("adapter.alpha_pattern", adapter.alpha_pattern);
}

void check_templates(const DataSection& data, const RecipeFacts& recipe) {
  const auto check = [&](const char* key, const std::string& source) {
    if (source.empty()) return;
    const std::string place = place_of(recipe, key);
    const auto parse = [&] { RecordTemplate parsed(source, key); };
    if (place.empty()) return parse();
    with_context(ExitCode::usage, place.substr(0, place.size() - 2), parse);
  };
  check("data.prompt", data.prompt);
  check("data.completion", data.completion);
}

// The type that `name` gets when `key` alone asks for F16 where everything else is F32.
bool has_effect(const std::string& key, const std::string& name, const std::vector<int64_t>& shape) {
  return gguf_tensor_type(name, shape, GgmlType::F32, {{key, "F16"}}) == GgmlType::F16;
}

}  // namespace

std::string place_of(const RecipeFacts& recipe, std::string_view key) {
  const auto found = recipe.given.find(std::string(key));
  return found == recipe.given.end() ? "" : to_text(found->second.position());
}

template <class R>
void check_expressions(const R& recipe) {
  if constexpr (requires { recipe.adapter; }) check_adapter(recipe.adapter, recipe);
  if constexpr (requires { recipe.data; }) check_templates(recipe.data, recipe);
  if constexpr (requires { recipe.exports; }) {
    for (const auto& [key, type] : recipe.exports.types) {
      with_context(ExitCode::usage, place_below(recipe, "export.types", key) + "export.types", [&] {
        if (looks_like_pattern(key)) Pattern pattern(key);
      });
    }
  }
}

template void check_expressions<PretrainRecipe>(const PretrainRecipe&);
template void check_expressions<SftRecipe>(const SftRecipe&);
template void check_expressions<EvalRecipe>(const EvalRecipe&);
template void check_expressions<ExportRecipe>(const ExportRecipe&);

void check_expressions_of(const Node& node) {
  const std::string kind = recipe_kind(node);
  if (kind == PipelineRecipe::kKind) {
    for (const auto& step : expand_steps(node)) check_expressions_of(step.recipe);
    return;
  }
  for_each_kind([&](const auto& prototype) {
    using R = std::decay_t<decltype(prototype)>;
    if constexpr (!std::is_same_v<R, PipelineRecipe>) {
      if (R::kKind == kind) check_expressions(read_recipe<R>(node, {.check_paths = false, .in_pipeline = true}));
    }
  });
}

void check_tensor_types(const ExportSection& section, const RecipeFacts& recipe, const ModelSpec& spec) {
  const auto tensors = expected_tensors(spec);
  for (const auto& [key, type] : section.types) {
    const auto named = [&, &key = key](const auto& tensor) {
      return has_effect(key, gguf_name(tensor.name, spec), tensor.shape);
    };
    if (std::any_of(tensors.begin(), tensors.end(), named)) continue;
    fail(ExitCode::usage,
         fmt::format("{}export.types: '{}' names no matrix of this model", place_below(recipe, "export.types", key),
                     key),
         "names are GGUF's: token_embd, output (where the head is not tied), attn_q, ffn_down, blk.3.attn_v, or an "
         "expression over the whole name; norms and biases are always F32");
  }
}

}  // namespace prentice
