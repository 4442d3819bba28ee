#include "recipes/supervised.h"

#include "adapter/lora.h"
#include "adapter/trainable.h"
#include "config/read.h"
#include "model/resize.h"
#include "objective/cross_entropy.h"
#include "recipes/console.h"
#include "recipes/finish.h"
#include "recipes/prepare.h"
#include "recipes/products.h"
#include "recipes/programs.h"
#include "recipes/selftest.h"
#include "recipes/training.h"
#include "recipes/validation.h"
#include "train/loop.h"

namespace prentice {

template <class Recipe>
int run_supervised(Recipe recipe, const Invocation& invocation) {
  const auto [machine, hardware] = decide_place(recipe.run, "");
  Opened opened = open_recipe(std::as_const(recipe), machine);  // a recipe that is refused leaves no folder
  RunFolder folder(recipe.run.out, invocation.fresh, run_policy(invocation));
  PreparedRun run = prepare_run(recipe, std::move(opened), hardware);
  const std::string resolved = to_yaml(to_node(recipe));
  if (begin_training(folder, recipe, run, resolved, invocation) == RunState::finished) {
    return already_done(folder.path(), invocation);
  }

  Model model = load_weights(run.opened, recipe.run.seed);
  if (!run.opened.random) start_rows(model, run.new_tokens.ids, run.new_tokens.known);
  if (run.adapter.kind != AdapterKind::full) attach_lora(model, run.adapter, recipe.run.seed);
  const NamedTensors weights = trainable(model, run.adapter);

  ForwardOptions forward{.training = true,
                         .recompute_blocks = *recipe.train.recompute == Recompute::block,
                         .seed = static_cast<uint64_t>(recipe.run.seed)};
  const Objective objective = [&](const Batch& batch, const Counts& counts, Metrics&) {
    return cross_entropy_share(forward_hidden(model, batch, forward), model.head, model.spec.final_softcap, batch,
                               counts, forward);
  };
  const Validation validation(model, run, recipe.eval, *recipe.train.micro_tokens);
  keep_examples(run.data.train, kSelfTestCases);
  const Hooks hooks{.save_model = [&](const auto& path) { save_trained_model(model, run, path); },
                    .evaluate = validation.hook(folder.path()),
                    .before_step = [&](int64_t step) { forward.step = step; }};
  const TrainConfig config = train_config(recipe, run, folder, resolved, invocation.quiet);
  const TrainResult result = train(config, weights, *run.steps, objective, hooks);
  return finish_run(model, run, recipe.exports, recipe.eval, validation, result, folder, invocation);
}

template int run_supervised<PretrainRecipe>(PretrainRecipe, const Invocation&);
template int run_supervised<SftRecipe>(SftRecipe, const Invocation&);

int run_program(PretrainRecipe recipe, const Invocation& invocation) {
  return run_supervised(std::move(recipe), invocation);
}

int run_program(SftRecipe recipe, const Invocation& invocation) {
  return run_supervised(std::move(recipe), invocation);
}

}  // namespace prentice
