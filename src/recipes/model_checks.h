// What can be wrong with a recipe beyond its own words: patterns and templates that only other rooms can read, and what
// the shape of its model does not allow. All of it is told at once, with the place in the file, before weights load
// and data is read, by `validate` as by every program that opens a model.
#pragma once

#include "config/kinds.h"
#include "config/values.h"

namespace prentice {

struct ModelShape;

// adapter.targets, rank_pattern and alpha_pattern, export.types, data.prompt and data.completion must parse. True when
// those that are held against a model's names do.
template <class R>
bool check_expressions(const R& recipe, RecipeMistakes& mistakes);

// The recipe against the model of its `model` section: what check_expressions has found good, the weights, the adapter,
// data.max_length and the exports. R: a kind with a model.
template <class R>
void check_against_model(const R& recipe, const ModelShape& shape, RecipeMistakes& mistakes);

}  // namespace prentice
