// `plan`: what a recipe needs and takes, before weights load; of a pipeline, step by step.
#include <fmt/format.h>

#include "config/distill_rules.h"
#include "config/read.h"
#include "core/error.h"
#include "job/prepare.h"
#include "pages/console.h"
#include "plan/model_checks.h"
#include "recipes/imatrix.h"
#include "recipes/inference_plan.h"
#include "recipes/programs.h"
#include "recipes/promises.h"
#include "recipes/teach.h"
#include "recipes/teach_answers.h"
#include "recipes/validate.h"

namespace prentice {

namespace {

// Refuses what the run refuses.
TaughtRows taught_rows(const DistillRecipe& recipe, const PreparedRun& run) {
  const StoredTeacher stored = open_stored_teacher(recipe, run.opened.tokenizer, run.data.train);
  stored.require_all(run.data.train.encoded);
  return stored.taught(run.data.train.encoded);
}

Plan plan_of(const PromisedStep& planned, const Invocation& invocation) {
  return with_kind(planned.step.kind, [&]<class R>() {
    auto recipe = read_recipe<R>(planned.step.recipe, {.check_paths = false});
    if constexpr (requires { recipe.distill; }) {
      take_teacher(recipe, planned);
      recipe.trust_store = invocation.trust_store;
    }
    Plan plan;
    if constexpr (kTrains<R>) {
      const auto [machine, hardware] = decide_place(recipe.run, recipe.plan.hardware);
      PreparedRun run = prepare_run(recipe, open_run(recipe, machine, RunUse::plan), hardware);
      print_warnings(recipe.warnings);
      print_warnings(run.data);
      plan = std::move(run.plan);
      if constexpr (requires { recipe.distill; }) {
        if (names_store(recipe.distill) && !recipe.teacher_promised) plan.taught = taught_rows(recipe, run);
      }
    } else if constexpr (std::is_same_v<R, TeachRecipe>) {
      const auto [machine, hardware] = decide_place(recipe.run, recipe.plan.hardware);
      Opened opened = open_recipe(std::as_const(recipe), machine);
      plan = recipe.teach.sample.n > 0 ? plan_answers(recipe, opened, hardware)
                                       : prepare_teach(recipe, std::move(opened), hardware).plan;
    } else if constexpr (std::is_same_v<R, ImatrixRecipe>) {
      const auto [machine, hardware] = decide_place(recipe.run, recipe.plan.hardware);
      const Opened opened = open_recipe(std::as_const(recipe), machine);
      const Calibration calibration = prepare_calibration(recipe, opened);
      if (const auto line = calibration_warning(calibration); !line.empty()) print_warnings(std::vector{line});
      plan = plan_imatrix(recipe, calibration, opened, hardware);
    } else if constexpr (requires { recipe.model; }) {
      plan = inference_plan(std::move(recipe), planned);
    } else if constexpr (requires { recipe.compare; }) {
      plan = comparison_plan(std::move(recipe), planned);
    } else if constexpr (requires { recipe.verify; }) {
      plan = verification_plan(std::move(recipe));
    }
    return plan;
  });
}

int plan_pipeline(const Invocation& invocation) {
  validate_recipe(invocation.recipe);
  bool fits = true;
  Json::Array plans;
  for (const auto& planned : with_promised_models(expand_steps(invocation.recipe))) {
    const ExpandedStep& step = planned.step;
    if (!planned.shape_known || !planned.data_known) {
      if (!invocation.json) {
        fmt::print("{}  {} {}\n{} by an earlier step: planned once {} there\n\n", step.name, step.kind, step.file,
                   planned.shape_known ? "its rows are written" : "its model is made",
                   planned.shape_known ? "they are" : "that is");
      }
      plans.push_back(Json::Object{{"name", step.name}, {"plan", Json()}});
      continue;
    }
    const Plan plan = plan_of(planned, invocation);
    fits = fits && plan.fits;
    if (!invocation.json) fmt::print("{}  {} {}\n{}\n", step.name, step.kind, step.file, to_text(plan));
    plans.push_back(Json::Object{{"name", step.name}, {"plan", to_json(plan)}});
  }
  if (invocation.json) fmt::print("{}\n", Json(Json::Object{{"schema", 1}, {"fits", fits}, {"steps", plans}}).dump());
  return fits ? 0 : static_cast<int>(ExitCode::memory);
}

}  // namespace

int plan_recipe(const Invocation& invocation) {
  note_bare_program();
  if (invocation.kind == "pipeline") return plan_pipeline(invocation);
  validate_recipe(invocation.recipe);
  const Plan plan = plan_of({.step = {.kind = invocation.kind, .recipe = invocation.recipe}}, invocation);
  fmt::print("{}", invocation.json ? to_json(plan).dump() + "\n" : to_text(plan));
  return plan.fits ? 0 : static_cast<int>(ExitCode::memory);
}

}  // namespace prentice
