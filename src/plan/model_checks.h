// What can be wrong with a recipe beyond its own words: patterns and templates that only other rooms can read, and what
// the shape of its model does not allow. All of it is told at once, with the place in the file, before weights load
// and data is read, by `validate` as by every program that opens a model.
#pragma once

#include <utility>

#include "artifact/open.h"
#include "config/kinds.h"
#include "config/values.h"

namespace prentice {

// adapter.targets, rank_pattern and alpha_pattern, export.types, data.prompt and data.completion must parse. True when
// those that are held against a model's names do.
template <class R>
bool check_expressions(const R& recipe, RecipeMistakes& mistakes);

// The recipe against the model of its `model` section: what check_expressions has found good, the weights, the adapter,
// data.max_length and the exports. R: a kind with a model.
template <class R>
void check_against_model(const R& recipe, const ModelShape& shape, RecipeMistakes& mistakes);

// Opens the model of a recipe for `machine`, which is applied. Errors: all of check_expressions and check_against_model
// at once; those of open_model.
template <class R>
Opened open_recipe(const R& recipe, const Machine& machine) {
  RecipeMistakes mistakes;
  const bool readable = check_expressions(recipe, mistakes);
  apply_machine(machine, recipe.run.deterministic);
  ModelShape shape = open_shape(recipe.model);
  if (readable) check_against_model(recipe, shape, mistakes);
  mistakes.throw_if_any();
  return open_model(std::move(shape), recipe.model, machine);
}
// The same for the machine that the recipe decides on.
template <class R>
Opened open_recipe(R& recipe) {
  const Machine machine = decide_machine(recipe.run);
  return open_recipe(std::as_const(recipe), machine);
}

}  // namespace prentice
