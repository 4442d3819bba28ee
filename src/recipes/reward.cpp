// Reward models: a head that scores whole answers, trained so that chosen ones score above rejected ones
// (Bradley-Terry).
#include "eval/preference.h"
#include "job/training.h"
#include "job/validation.h"
#include "model/score.h"
#include "objective/preference_share.h"
#include "pages/console.h"
#include "recipes/programs.h"

namespace prentice {

int run_program(RewardRecipe recipe, const Invocation& invocation) {
  const auto training = start_training(recipe, invocation);
  if (!training) return already_done(recipe.run.out, invocation);
  const auto& [folder, run, resolved, model, weights, forward] = *training;
  const Objective objective = [&](const Batch& batch, const Counts& counts, Metrics& metrics) {
    return reward_share(sequence_scores(model, batch, forward), batch, counts, metrics);
  };
  const auto score = [&] {
    return score_rewards(held_out_answers(run, recipe),
                         [&](const Batch& batch) { return sequence_scores(model, batch, {}); });
  };
  const Validation validation(run, [&] { return preference_report(recipe.eval, score); });
  return finish_training(*training, recipe, objective, validation, invocation);
}

}  // namespace prentice
