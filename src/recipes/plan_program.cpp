// `plan`: what a recipe needs and takes, before weights load; of a pipeline, step by step.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "config/distill_rules.h"
#include "config/read.h"
#include "core/error.h"
#include "eval/label_states.h"
#include "io/gguf.h"
#include "io/importance_matrix.h"
#include "io/safetensors.h"
#include "job/prepare.h"
#include "pages/console.h"
#include "plan/model_checks.h"
#include "proof/logit_proof.h"
#include "recipes/imatrix.h"
#include "recipes/programs.h"
#include "recipes/promises.h"
#include "recipes/teach.h"
#include "recipes/teach_answers.h"
#include "recipes/validate.h"
#include "recipes/verify_sides.h"

namespace prentice {

namespace {

// Of an export that runs the model on calibration data before it writes.
Plan with_scoring(Plan plan, StepShape shape, const Hardware& hardware) {
  shape.labelled = 1;  // the head is not asked
  const Plan scoring = scoring_plan(shape, hardware);
  plan.memory.load = scoring.memory.load, plan.memory.eval = scoring.memory.eval;
  plan.fits = plan.fits && scoring.fits;
  plan.host_peak_bytes = std::max(plan.host_peak_bytes, scoring.host_peak_bytes);
  return plan;
}

// An export and an evaluation hold one model; a plan of theirs is its size.
template <class R>
Plan inference_plan(R recipe, const PromisedStep& step) {
  std::string wanted;
  if constexpr (requires { recipe.plan; }) wanted = recipe.plan.hardware;
  const auto [machine, hardware] = decide_place(recipe.run, wanted);
  const ModelShape opened = promised_shape(recipe.model, step);
  RecipeMistakes mistakes;
  if (check_expressions(recipe, mistakes)) check_against_model(recipe, opened, mistakes);
  mistakes.throw_if_any();
  const StepShape shape = step_shape(opened.spec, machine, hardware, quantize_of(recipe.model, opened.spec));
  Plan plan;
  if constexpr (!requires { recipe.exports; }) plan = scoring_plan(shape, hardware);
  if constexpr (requires { recipe.exports; }) {
    const auto& base = opened.artifact.base;  // the run refuses a folder without weights; heads of files are read alone
    if (!opened.promised && opened.artifact.has_weights() && !is_gguf_file(base)) WeightFolder::open(base);
    plan = export_plan(shape, recipe.exports, hardware);
    const std::string& imatrix = recipe.exports.imatrix;
    if (!imatrix.empty() && !is_importance_file(imatrix)) plan = with_scoring(std::move(plan), shape, hardware);
  }
  plan.decided = {{"run.device", *recipe.run.device}};
  return plan;
}

// Of a compared model, what is kept when it is let go: its head, and the states of labelled positions.
int64_t kept_bytes(const ModelSpec& spec, const Machine& machine) {
  const auto element = static_cast<int64_t>(c10::elementSize(machine.dtype));
  return spec.labels > 0 ? 0 : (spec.vocab + kComparedPositions) * spec.hidden * element;
}

// One model after the other is held, the second beside what is kept of the first: the plan of the larger.
Plan comparison_plan(CompareRecipe recipe, const PromisedStep& step) {
  const auto [machine, hardware] = decide_place(recipe.run, "");
  std::vector<Plan> plans;
  int64_t kept = 0;
  for (const bool first : {true, false}) {
    const ModelSection model{.path = first ? recipe.compare.a : recipe.compare.b};
    ModelSpec spec = open_shape(model, first ? "compare.a" : "compare.b").spec;
    if (step.side_scores[first ? 0 : 1]) spec = with_score_head(std::move(spec));
    Plan plan = scoring_plan(step_shape(spec, machine, hardware, quantize_of(model, spec)), hardware);
    plan.memory.load += kept, plan.memory.eval += kept;
    plan.fits = plan.memory.peak() <= hardware.memory_bytes;
    if (!hardware.is_gpu) plan.host_peak_bytes = plan.memory.peak();
    plans.push_back(std::move(plan));
    kept = kept_bytes(spec, machine);
  }
  Plan plan = *std::ranges::max_element(plans, {}, [](const Plan& one) { return one.memory.peak(); });
  plan.decided = {{"run.device", *recipe.run.device}};
  return plan;
}

// llama.cpp reads the file as it is and may hold its tensors in another order of blocks, too; a server does so itself.
int64_t witness_bytes(const VerifySection& section) {
  std::error_code error;
  const auto bytes =
      section.llama_cpp.empty() || names_server(section) ? 0 : std::filesystem::file_size(section.artifact, error);
  return error ? 0 : static_cast<int64_t>(bytes);
}

// Two forward passes, a layer at a time, and every tensor read.
Plan verification_plan(VerifyRecipe recipe) {
  const auto [machine, hardware] = decide_place(recipe.run, recipe.plan.hardware);
  const ModelSpec spec = open_shape({.path = recipe.verify.model}, "verify.model").spec;
  if (!recipe.verify.tokens) recipe.verify.tokens = hardware.is_gpu ? kProofTokensGpu : kProofTokensCpu;
  const int64_t tokens = *recipe.verify.tokens;
  const int64_t context = hardware.is_gpu ? kGpuContextBytes : kCpuContextBytes;
  const int64_t bytes = verification_bytes(spec, tokens, hardware.is_gpu) + witness_bytes(recipe.verify);
  Plan plan{.hardware = hardware, .memory = {.verify = context + bytes}};
  const double flops = 2 * forward_flops_per_token(spec, static_cast<double>(std::min(tokens, spec.max_positions)));
  if (hardware.usable_flops > 0) plan.seconds = flops * static_cast<double>(tokens) / hardware.usable_flops;
  plan.seconds += 2 * loading_seconds(parameter_count(spec) * 4);
  plan.cost = plan.seconds / 3600 * hardware.price_per_hour;
  plan.fits = plan.memory.peak() <= hardware.memory_bytes;
  plan.host_peak_bytes = plan.memory.peak();
  plan.decided = {{"run.device", *recipe.run.device}, {"verify.tokens", std::to_string(tokens)}};
  return plan;
}

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
