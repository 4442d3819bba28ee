#include "job/training.h"

#include <fmt/format.h>

#include "adapter/lora.h"
#include "adapter/qat.h"
#include "adapter/trainable.h"
#include "artifact/artifact.h"
#include "artifact/describe_run.h"
#include "config/read.h"
#include "core/error.h"
#include "core/out_of_memory.h"
#include "core/units.h"
#include "io/publish.h"
#include "job/finish.h"
#include "job/graph.h"
#include "job/prepare.h"
#include "model/resize.h"
#include "pages/console.h"
#include "products/products.h"
#include "products/selftest.h"
#include "run/checkpoint.h"
#include "train/loop.h"

namespace prentice {

namespace {

void print_start(const PreparedRun& run, const RunFolder& folder) {
  const auto& set = run.data.train;
  fmt::print(stderr, "{}\n", set.description);
  if (run.data.eval) fmt::print(stderr, "held out: {}\n", run.data.eval->description);
  for (const auto& [key, value] : run.new_tokens.decided) fmt::print(stderr, "{}: {}\n", key, value);
  fmt::print(stderr, "plan: {} steps, about {}, {} of memory, {} of disk -> {}\n", run.plan.steps,
             human_duration(run.plan.seconds), human_bytes(run.plan.memory.peak()), human_bytes(run.plan.disk_bytes),
             folder.path().string());
}

template <class Recipe>
TrainConfig train_config(const Recipe& recipe, const Training& training, bool quiet) {
  const auto& [folder, run, resolved, model, weights, forward] = training;
  const OptimSection& optim = recipe.optim;
  const auto [beta1, beta2] = *optim.betas;
  return {.out = folder.path(),
          .run_id = folder.run_id(),
          .log_every = recipe.run.log_every,
          .checkpoint_every = recipe.train.checkpoint_every.value_or(0),
          .keep = recipe.train.keep,
          .eval_every = recipe.train.eval_every.value_or(0),
          .select = recipe.train.select,
          .patience = recipe.train.patience,
          .optimizer = {.name = optim.name,
                        .beta1 = beta1,
                        .beta2 = beta2,
                        .eps = optim.eps,
                        .weight_decay = *optim.weight_decay,
                        .lr_ratio = run.adapter.lr_ratio,
                        .lr = *optim.lr,
                        .offload = *recipe.train.offload},
          .schedule = {.kind = optim.schedule,
                       .warmup_steps = warmup_steps(optim, run.steps->size()),
                       .min_lr = *optim.min_lr,
                       .decay = optim.decay},
          .clip = optim.clip,
          .flops_per_token = run.plan.flops_per_token,
          .peak_flops = run.plan.hardware.peak_flops,
          .device = run.opened.machine.device,
          .recorder = *recipe.train.graph ? graph_recorder(run.opened.machine.device) : PassRecorder{},
          .recipe = resolved,
          .inputs = folder.inputs(),
          .quiet = quiet};
}

// What nobody planned: that the machine has less than was thought, or another program takes it.
[[noreturn]] void fail_for_memory(const std::string& asked, const Training& training) {
  const auto& [folder, run, resolved, model, weights, forward] = training;
  const auto kept = checkpoint_steps(folder.path());
  fail(ExitCode::memory,
       fmt::format("out of memory in step {}{}", forward.step + 1,
                   asked.empty() ? "" : ": " + asked + " could not be had"),
       fmt::format("{} (planned: {}); {}", run.plan.smaller(), human_bytes(static_cast<double>(run.plan.memory.peak())),
                   kept.empty()
                       ? "no checkpoint was written yet"
                       : fmt::format("the checkpoint of step {} is whole, and `prentice resume {}` goes on from it",
                                     kept.back(), folder.path().string())));
}

// A plan may be made of shapes alone; a file's blocks are made of a file's weights.
void require_own_weights(const OpenedRun& run) {
  if (!run.opened.random || run.served.empty()) return;
  fail(ExitCode::usage,
       "model.init: adapter.qat trains for a file that is made of the base's weights, and random ones are in none",
       "model.init=weights");
}

}  // namespace

template <class Recipe>
std::unique_ptr<Training> start_training(Recipe& recipe, const Invocation& invocation) {
  const auto [machine, hardware] = decide_place(recipe.run, "");
  OpenedRun opened = open_run(recipe, machine, RunUse::train);  // a recipe that is refused leaves no folder
  require_own_weights(opened);
  std::unique_ptr<Training> training(new Training{.folder{recipe.run.out, invocation.fresh, run_policy(invocation)},
                                                  .run = prepare_run(recipe, std::move(opened), hardware),
                                                  .resolved = to_yaml(to_node(recipe))});
  auto& [folder, run, resolved, model, weights, forward] = *training;
  const RunDescription description = describe_run(recipe, run.opened.artifact, run.plan.hardware.name, invocation);
  if (folder.begin(description) == RunState::finished) return nullptr;
  if (!run.plan.fits) refuse_plan(run.plan);
  if (const auto own = replaced_template(run.opened.tokenizer)) publish_file(folder.path() / kRunTemplate, *own);
  if (!invocation.quiet) print_start(run, folder);
  print_warnings(recipe.warnings), print_warnings(run.data);

  model =
      load_weights(run.opened, recipe.run.seed,
                   *recipe.train.offload ? frozen_ends(run.opened.spec, run.opened.quantize, run.adapter) : HostEnds{});
  if (!run.opened.random) start_rows(model, run.new_tokens.ids, run.new_tokens.known);
  if (run.adapter.kind != AdapterKind::full) attach_lora(model, run.adapter, recipe.run.seed);
  train_as_served(model, run.served);
  weights = trainable(model, run.adapter);
  forward = {.training = true,
             .recomputed = recomputed(*recipe.train.recompute),
             .offload = *recipe.train.offload,
             .seed = static_cast<uint64_t>(recipe.run.seed)};
  return training;
}

template <class Recipe>
int finish_training(Training& training, const Recipe& recipe, const Objective& objective, const Validation& validation,
                    const Invocation& invocation, std::function<void(Step&)> see_step) {
  auto& [folder, run, resolved, model, weights, forward] = training;
  keep_examples(run.data.train, kSelfTestCases * run.data.train.encoded.group);
  const Hooks hooks{.save_model = [&](const auto& path) { save_trained_model(model, run, path); },
                    .evaluate = validation.hook(folder.path()),
                    .before_step = [&](int64_t step) { forward.step = step; },
                    .see_step = std::move(see_step)};
  TrainResult result;
  try {
    result = train(train_config(recipe, training, invocation.quiet), weights, *run.steps, objective, hooks);
  } catch (const std::exception& error) {
    if (const auto asked = out_of_memory(error)) fail_for_memory(*asked, training);
    throw;
  }
  return finish_run(model, run, recipe.exports, recipe.eval, validation, result, folder, invocation);
}

#define PRENTICE_TRAINS(R)                                                                                     \
  template std::unique_ptr<Training> start_training<R>(R&, const Invocation&);                                 \
  template int finish_training<R>(Training&, const R&, const Objective&, const Validation&, const Invocation&, \
                                  std::function<void(Step&)>);
PRENTICE_TRAINING_KINDS(PRENTICE_TRAINS)
#undef PRENTICE_TRAINS

}  // namespace prentice
