// Pretraining and supervised fine-tuning: cross-entropy on the labels. They differ in what trains (every weight, or an
// adapter) and in their defaults.
#include "job/training.h"
#include "job/validation.h"
#include "objective/cross_entropy.h"
#include "pages/console.h"
#include "recipes/programs.h"

namespace prentice {

namespace {

template <class Recipe>
int run_supervised(Recipe recipe, const Invocation& invocation) {
  const auto training = start_training(recipe, invocation);
  if (!training) return already_done(recipe.run.out, invocation);
  const auto& [folder, run, resolved, model, weights, forward] = *training;
  const Objective objective = [&](const Batch& batch, const Counts& counts, Metrics&) {
    return cross_entropy_share(forward_hidden(model, batch, forward), model.head, model.spec.final_softcap, batch,
                               counts, forward);
  };
  const Validation validation(model, run, recipe.eval, *recipe.train.micro_tokens);
  return finish_training(*training, recipe, objective, validation, invocation);
}

}  // namespace

int run_program(PretrainRecipe recipe, const Invocation& invocation) {
  return run_supervised(std::move(recipe), invocation);
}

int run_program(SftRecipe recipe, const Invocation& invocation) {
  return run_supervised(std::move(recipe), invocation);
}

}  // namespace prentice
