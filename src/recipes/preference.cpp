// Preference tuning: answers that were chosen against answers that were rejected, compared with the model as it was
// (DPO and its kin) or by themselves (ORPO, SimPO, CPO).
#include "eval/preference.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>

#include "adapter/lora.h"
#include "adapter/trainable.h"
#include "config/read.h"
#include "model/resize.h"
#include "objective/preference_share.h"
#include "recipes/console.h"
#include "recipes/finish.h"
#include "recipes/prepare.h"
#include "recipes/products.h"
#include "recipes/programs.h"
#include "recipes/reference.h"
#include "recipes/selftest.h"
#include "recipes/stopping.h"
#include "recipes/training.h"
#include "recipes/validation.h"
#include "run/signals.h"
#include "train/loop.h"

namespace prentice {

namespace {

EvalReport score_held_out(const Model& model, const Reference& reference, const PreparedRun& run,
                          const DpoRecipe& recipe) {
  EvalReport report;
  report.preference = score_preference({.data = *run.data.eval,
                                        .section = recipe.preference,
                                        .policy = [&](const Batch& batch) { return answer_sums(model, batch, {}); },
                                        .reference = [&](const Batch& batch) { return reference.sums(batch); },
                                        .device = run.opened.machine.device,
                                        .limit = recipe.eval.limit,
                                        .micro_tokens = *recipe.train.micro_tokens,
                                        .stop = [] { return stop_signal() != 0; }});
  report.gates = check_gates(report, recipe.eval.require);
  return report;
}

// The divergence of the whole step before its first share, and how many answers of each kind it has.
KtoStep look_at_step(const Model& model, const Reference& reference, const Step& step, at::Device device) {
  const c10::NoGradGuard no_grad;
  KtoStep found{.kl = at::zeros({}, at::TensorOptions().dtype(at::kDouble).device(device))};
  for (const auto& batch : step.micros) {
    const auto chosen = static_cast<double>(batch.role.eq(kChosen).sum().item<int64_t>());
    found.desirable += chosen;
    found.undesirable += static_cast<double>(batch.role.size(0)) - chosen;
  }
  std::vector<Tensor> of_model, of_reference;
  for (const auto& host : step.mismatched) {
    const Batch batch = to_device(host, device);
    of_reference.push_back(reference.sums(batch));
    of_model.push_back(answer_sums(model, batch, {}));
  }
  if (!of_model.empty()) found.kl = kto_divergence(at::cat(of_model), at::cat(of_reference));
  return found;
}

}  // namespace

int run_program(DpoRecipe recipe, const Invocation& invocation) {
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
  const Reference reference(model, recipe, run);
  reference.precompute(run.data, folder.path(), *folder.inputs(), *recipe.train.micro_tokens, invocation.quiet);

  ForwardOptions forward{.training = true,
                         .recompute_blocks = *recipe.train.recompute == Recompute::block,
                         .seed = static_cast<uint64_t>(recipe.run.seed)};
  const bool single_answers = recipe.preference.loss == PreferenceLoss::kto;
  KtoStep kto;
  const Objective objective = [&](const Batch& batch, const Counts& counts, Metrics& metrics) {
    const Tensor of_reference = reference.sums(batch);  // first: nothing of the model's own pass is in memory yet
    const Tensor sums = answer_sums(model, batch, forward);
    return single_answers ? kto_share(sums, of_reference, kto, batch, counts, recipe.preference, metrics)
                          : preference_share(sums, of_reference, batch, counts, recipe.preference, metrics);
  };
  const Validation validation(run, [&] { return score_held_out(model, reference, run, recipe); });
  keep_examples(run.data.train, kSelfTestCases * run.data.train.encoded.group);
  const Hooks hooks{.save_model = [&](const auto& path) { save_trained_model(model, run, path); },
                    .evaluate = validation.hook(folder.path()),
                    .before_step = [&](int64_t step) { forward.step = step; },
                    .see_step =
                        [&](const Step& step) {
                          if (single_answers) kto = look_at_step(model, reference, step, run.opened.machine.device);
                        }};
  const TrainConfig config = train_config(recipe, run, folder, resolved, invocation.quiet);
  const TrainResult result = train(config, weights, *run.steps, objective, hooks);
  return finish_run(model, run, recipe.exports, recipe.eval, validation, result, folder, invocation);
}

}  // namespace prentice
