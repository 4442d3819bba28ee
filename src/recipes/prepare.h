// From a training recipe to everything that is known before weights load: the encoded data, the steps, the plan; every
// `auto` of the recipe is decided here and frozen.
#pragma once

#include <memory>
#include <optional>

#include "config/kinds.h"
#include "data/encode.h"
#include "data/steps.h"
#include "recipes/new_tokens.h"
#include "recipes/open.h"
#include "recipes/plan.h"

namespace prentice {

struct PreparedRun {
  Opened opened;
  AdapterSection adapter;  // kind full for pretraining
  NewTokens new_tokens;
  TrainEvalSets data;
  std::unique_ptr<StepSource> steps;
  double epochs = 0;  // of the whole run
  Plan plan;
};

// `opened` is the recipe's model, for a machine of this hardware. Errors: whatever can be wrong with a recipe's data
// and what needs it.
template <class Recipe>  // a kind that trains
PreparedRun prepare_run(Recipe& recipe, Opened opened, const Hardware& hardware);

// What the objective of a kind reads of its rows.
template <class Recipe>
RowUse use_of(const Recipe& recipe) {
  if constexpr (requires { recipe.preference; }) {
    return recipe.preference.loss == PreferenceLoss::kto ? RowUse::labels : RowUse::pairs;
  }
  return RowUse::examples;
}

// Steps of linear rise: optim.warmup, a share rounded up; without it 3 % and at least 5.
double warmup_steps(const OptimSection&, int64_t steps);

}  // namespace prentice
