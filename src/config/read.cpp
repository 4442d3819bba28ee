#include "config/read.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "config/address.h"
#include "config/bind.h"
#include "config/check.h"
#include "config/pipeline.h"

namespace prentice {

namespace fs = std::filesystem;

namespace {

void refuse_top_level(const Node::Member& member, std::string_view kind, RecipeMistakes& mistakes) {
  const auto known = sections_of_kind(kind);
  const auto kinds = kinds_with_section(member.key);
  if (!kinds.empty()) {
    std::string names;
    for (const auto& name : kinds) names += (names.empty() ? "" : ", ") + name;
    const std::string hint =
        kind == PipelineRecipe::kKind
            ? fmt::format(
                  "it belongs into the recipe of a step, or over it: pipeline.steps: [{{recipe: FILE, set: "
                  "{{{}.KEY: VALUE}}}}]",
                  member.key)
            : fmt::format("{} belongs to: {}", member.key, names);
    mistakes.add(member.position, member.key, fmt::format("a recipe of kind {} has no such section", kind), hint);
  } else {
    const auto holders = sections_with_key(member.key);
    const std::string near = closest_match(member.key, known);
    std::string hint = near.empty() ? "" : "did you mean " + near + "?";
    if (!holders.empty()) hint = fmt::format("did you mean {}.{}?", holders.front(), member.key);
    if (hint.empty()) hint = foreign_name_hint(member.key);
    if (hint.empty()) hint = fmt::format("sections of {}: {}", kind, fmt::join(known, ", "));
    mistakes.add(member.position, member.key, "unknown section", hint);
  }
}

// One word instead of a list is a file of candidates, which eval/choice.h reads.
void resolve_choices_path(EvalSection& eval, const RecipeFacts& facts, RecipeMistakes& mistakes) {
  const auto given = facts.given.find("eval.choices");
  if (given == facts.given.end() || !given->second.is_scalar() || eval.choices.size() != 1) return;
  const fs::path path = absolute_from(folder_of(given->second.position()), eval.choices[0]);
  eval.choices = {path.string()};
  std::error_code error;
  if (fs::is_regular_file(path, error)) return;
  mistakes.add(given->second.position(), "eval.choices", "no such file: " + path.string(), "a list is written [a, b]");
}

// `recipe: orpo` says which loss; beside it preference.loss may only say the same.
void settle_loss(DpoRecipe& recipe, const Node& root, RecipeMistakes& mistakes) {
  const Node* kind = root.find("recipe");
  const KindAlias* alias = kind && kind->is_scalar() ? find_alias(kind->text()) : nullptr;
  if (!alias) return;
  const auto given = recipe.given.find("preference.loss");
  if (given != recipe.given.end() && recipe.preference.loss != alias->loss) {
    mistakes.add(given->second.position(), "preference.loss", fmt::format("`recipe: {}` sets it", alias->word),
                 "remove the key, or write `recipe: dpo`");
  }
  recipe.preference.loss = alias->loss;
}

template <class R>
void read_sections(R& recipe, const Node& root, RecipeMistakes& mistakes) {
  std::vector<std::string> names = {"recipe"};
  sections(
      [&](const char* name, auto& section) {
        names.emplace_back(name);
        const Node* node = root.find(name);
        if (!node || node->is_null()) return;
        if (!node->is_map()) {
          mistakes.add(node->position(), name, "expected a map of keys, got " + node->described());
          return;
        }
        FieldReader reader(R::kKind, name, *node, recipe, mistakes);
        fields(reader, section);
        reader.finish();
      },
      recipe);
  report_duplicates(root, mistakes);
  for (const auto& member : root.members()) {
    if (std::find(names.begin(), names.end(), member.key) == names.end()) refuse_top_level(member, R::kKind, mistakes);
  }
}

std::string name_of(const Node& root, std::string_view kind) {
  const Position& position = root.position();
  return position.line == 0 ? std::string(kind) : fs::path(position.file).stem().string();
}

}  // namespace

template <class R>
R bind_recipe(const Node& root, const ReadOptions& options, RecipeMistakes& mistakes) {
  R recipe;
  recipe.name = name_of(root, R::kKind);
  read_sections(recipe, root, mistakes);
  if constexpr (requires { recipe.eval; }) resolve_choices_path(recipe.eval, recipe, mistakes);
  if constexpr (requires { recipe.preference; }) settle_loss(recipe, root, mistakes);
  resolve_defaults(recipe);
  if (!recipe.run.out.empty()) recipe.name = fs::path(recipe.run.out).filename().string();
  check_recipe(recipe, root, mistakes);
  if (options.check_paths) check_paths(recipe, options, mistakes);
  return recipe;
}

template <class R>
R read_recipe(const Node& root, const ReadOptions& options) {
  const std::string kind = recipe_kind(root);
  if (kind != R::kKind) fail_at(root.position(), fmt::format("expected a recipe of kind {}, got {}", R::kKind, kind));
  RecipeMistakes mistakes;
  R recipe = bind_recipe<R>(root, options, mistakes);
  mistakes.throw_if_any();
  return recipe;
}

template <class R>
Node to_node(const R& recipe) {
  Node root = Node::map();
  root.set("recipe", Node::scalar(std::string(R::kKind)));
  R copy = recipe;  // the field lists take mutable sections
  sections(
      [&](const char* name, auto& section) {
        FieldWriter writer(R::kKind, name);
        fields(writer, section);
        root.set(name, writer.take());
      },
      copy);
  return root;
}

PipelineRecipe bind_pipeline(const Node& root, RecipeMistakes& mistakes) {
  return bind_recipe<PipelineRecipe>(root, {.check_paths = false}, mistakes);
}

namespace {

std::vector<std::string> check_any_kind(const Node& root, const ReadOptions& options, RecipeMistakes& mistakes) {
  return with_kind(recipe_kind(root), [&]<class R>() { return bind_recipe<R>(root, options, mistakes).warnings; });
}

}  // namespace

std::vector<std::string> check_words(const Node& root, const ReadOptions& options, RecipeMistakes& mistakes) {
  auto warnings = check_any_kind(root, options, mistakes);
  if (recipe_kind(root) != PipelineRecipe::kKind) return warnings;
  ReadOptions with_outs = options;
  with_outs.in_pipeline = true;
  for (const auto& step : expand_steps(root, mistakes)) {
    for (auto& warning : check_any_kind(step.recipe, with_outs, mistakes)) {
      warnings.push_back(step.name + ": " + warning);
    }
    with_outs.promised.push_back(step.out);
  }
  return warnings;
}

std::vector<std::string> check_words(const Node& root, const ReadOptions& options) {
  RecipeMistakes mistakes;
  auto warnings = check_words(root, options, mistakes);
  mistakes.throw_if_any();
  return warnings;
}

#define PRENTICE_READS(R)                                                      \
  template R read_recipe<R>(const Node&, const ReadOptions&);                  \
  template R bind_recipe<R>(const Node&, const ReadOptions&, RecipeMistakes&); \
  template Node to_node<R>(const R&);
PRENTICE_KINDS(PRENTICE_READS)
#undef PRENTICE_READS

}  // namespace prentice
