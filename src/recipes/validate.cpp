#include "recipes/validate.h"

#include <map>

#include "config/address.h"
#include "config/checker.h"
#include "config/pipeline.h"
#include "recipes/fit.h"
#include "recipes/open.h"

namespace prentice {

namespace {

// The words have been checked: what is wrong there is told already.
template <class R>
void check_with_model(const PromisedStep& step, RecipeMistakes& mistakes) {
  RecipeMistakes told;
  const R recipe = bind_recipe<R>(step.step.recipe, {.check_paths = false, .in_pipeline = true}, told);
  const bool readable = check_expressions(recipe, mistakes);
  const auto is_there = [](const std::string& address) { return address.empty() || address_exists(address, {}); };
  const ModelSection& model = recipe.model;
  if (!step.shape_known || model.path.empty() || !is_there(model.path) || !is_there(model.adapter)) return;
  if (std::error_code error; !model.tokenizer.empty() && !std::filesystem::exists(model.tokenizer, error)) return;
  if constexpr (requires { recipe.adapter; }) {
    if (!starts_fresh(recipe.adapter) && !is_there(recipe.adapter.init)) return;
  }
  Checker c(recipe, mistakes);
  c.gather("model.path", [&] {
    ModelShape shape = open_shape(model);
    shape.promised = step.promised;
    if (readable) check_fit(recipe, shape, mistakes);
  });
}

void check_any_with_model(const PromisedStep& step, RecipeMistakes& mistakes) {
  const std::string kind = recipe_kind(step.step.recipe);
  for_each_kind([&]<class R>(const R& recipe) {
    if constexpr (requires { recipe.model; }) {
      if (R::kKind == kind) check_with_model<R>(step, mistakes);
    }
  });
}

}  // namespace

std::vector<PromisedStep> with_promised_models(std::vector<ExpandedStep> steps) {
  std::vector<PromisedStep> all;
  std::map<std::string, Node> sections;  // run folder -> the model section that its run begins with
  std::vector<std::filesystem::path> outs;
  for (auto& step : steps) {
    PromisedStep next{.step = std::move(step)};
    Node* model = next.step.recipe.find("model");
    const Node* path = model ? model->find("path") : nullptr;
    if (path && path->is_scalar()) {
      const auto earlier = sections.find(path->text());
      const bool below = is_promised(parse_address(std::filesystem::current_path(), path->text()).path, outs);
      next.promised = earlier != sections.end();
      next.shape_known = next.promised || !below;
      if (next.promised) {
        const Node begins = earlier->second;
        for (const char* key : {"path", "tokenizer"}) {
          if (const Node* value = begins.find(key)) model->set(key, *value);
        }
        const Node* tokens = begins.find("add_tokens");
        if (tokens && trains(next.step.kind) && !model->find("add_tokens")) model->set("add_tokens", *tokens);
        if (next.step.kind != ExportRecipe::kKind) model->set("init", Node::scalar("random"));
      }
      if (next.shape_known) sections.emplace(next.step.out.string(), *model);
    }
    outs.push_back(next.step.out);
    all.push_back(std::move(next));
  }
  return all;
}

std::vector<std::string> validate_recipe(const Node& recipe) {
  RecipeMistakes mistakes;
  auto warnings = check_words(recipe, {}, mistakes);
  if (recipe_kind(recipe) != PipelineRecipe::kKind) {
    check_any_with_model({.step = {.recipe = recipe}}, mistakes);
  } else {
    RecipeMistakes told;
    for (const auto& next : with_promised_models(expand_steps(recipe, told))) {
      check_any_with_model(next, mistakes);
    }
  }
  mistakes.throw_if_any();
  return warnings;
}

}  // namespace prentice
