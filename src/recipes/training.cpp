#include "recipes/training.h"

#include <fmt/format.h>

#include "core/error.h"
#include "io/publish.h"
#include "recipes/artifact.h"
#include "recipes/console.h"
#include "recipes/inputs.h"
#include "recipes/products.h"
#include "recipes/units.h"

namespace prentice {

namespace {

template <class Recipe>
RunDescription describe(const Recipe& recipe, const PreparedRun& run, const std::string& resolved,
                        const Invocation& invocation) {
  return {.kind = std::string(Recipe::kKind),
          .command = invocation.command,
          .device = run.plan.hardware.name,
          .recipe = resolved,
          .seed = recipe.run.seed,
          .threads = *recipe.run.threads,
          .inputs = inputs_of(recipe, run.opened.artifact),
          .parents = {run.opened.artifact.address},
          .pipeline = invocation.pipeline};
}

void print_start(const PreparedRun& run, const RunFolder& folder, const std::vector<std::string>& warnings) {
  const auto& set = run.data.train;
  fmt::print(stderr, "{}\n", set.description);
  if (run.data.eval) fmt::print(stderr, "held out: {}\n", run.data.eval->description);
  for (const auto& [key, value] : run.new_tokens.decided) fmt::print(stderr, "{}: {}\n", key, value);
  for (const auto& warning : warnings) fmt::print(stderr, "warning: {}\n", warning);
  for (const auto& warning : set.encoded.warnings) fmt::print(stderr, "warning: {}\n", warning);
  if (const auto line = overlap_warning(run.data); !line.empty()) fmt::print(stderr, "warning: {}\n", line);
  fmt::print(stderr, "plan: {} steps, about {}, {} of memory, {} of disk -> {}\n", run.plan.steps,
             human_duration(run.plan.seconds), human_bytes(run.plan.memory.peak()), human_bytes(run.plan.disk_bytes),
             folder.path().string());
}

}  // namespace

template <class Recipe>
TrainConfig train_config(const Recipe& recipe, const PreparedRun& run, const RunFolder& folder,
                         const std::string& resolved, bool quiet) {
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
          .optimizer = optim.name,
          .lr = *optim.lr,
          .weight_decay = *optim.weight_decay,
          .eps = optim.eps,
          .clip = optim.clip,
          .min_lr = *optim.min_lr,
          .decay = optim.decay,
          .warmup_steps = warmup_steps(optim, run.steps->size()),
          .schedule = optim.schedule,
          .beta1 = beta1,
          .beta2 = beta2,
          .lr_ratio = run.adapter.lr_ratio,
          .flops_per_token = run.plan.flops_per_token,
          .peak_flops = run.plan.hardware.peak_flops,
          .device = run.opened.machine.device,
          .recipe = resolved,
          .inputs = folder.inputs(),
          .quiet = quiet};
}

template <class Recipe>
RunState begin_training(RunFolder& folder, const Recipe& recipe, const PreparedRun& run, const std::string& resolved,
                        const Invocation& invocation) {
  if (folder.begin(describe(recipe, run, resolved, invocation)) == RunState::finished) return RunState::finished;
  if (!run.plan.fits) refuse_plan(run.plan);
  if (const auto own = replaced_template(run.opened.tokenizer)) publish_file(folder.path() / kRunTemplate, *own);
  if (!invocation.quiet) print_start(run, folder, recipe.warnings);
  return RunState::unfinished;
}

#define PRENTICE_TRAINS(R)                                                                                        \
  template TrainConfig train_config<R>(const R&, const PreparedRun&, const RunFolder&, const std::string&, bool); \
  template RunState begin_training<R>(RunFolder&, const R&, const PreparedRun&, const std::string&, const Invocation&);
PRENTICE_TRAINS(PretrainRecipe)
PRENTICE_TRAINS(SftRecipe)
PRENTICE_TRAINS(DpoRecipe)
#undef PRENTICE_TRAINS

}  // namespace prentice
