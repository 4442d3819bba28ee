#include "recipes/inference_plan.h"

#include <algorithm>
#include <filesystem>
#include <utility>
#include <vector>

#include "eval/label_states.h"
#include "io/gguf.h"
#include "io/importance_matrix.h"
#include "io/safetensors.h"
#include "plan/model_checks.h"
#include "plan/nearest_inference.h"
#include "proof/logit_proof.h"
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

Plan plan_with(const ExportRecipe& recipe, const Inference& how) {
  ExportSection exports = recipe.exports;
  exports.verify = how.verify;
  Plan plan = export_plan(how.shape, exports, how.hardware);
  const bool is_data = !exports.imatrix.empty() && !is_importance_file(exports.imatrix);
  return is_data ? with_scoring(std::move(plan), how.shape, how.hardware) : plan;
}

template <class R>
Plan plan_with(const R&, const Inference& how) {
  return scoring_plan(how.shape, how.hardware);
}

// Of a compared model, what is kept when it is let go: its head, and the states of labelled positions.
int64_t kept_bytes(const ModelSpec& spec, c10::ScalarType dtype) {
  const auto element = static_cast<int64_t>(c10::elementSize(dtype));
  return spec.labels > 0 ? 0 : (spec.vocab + kComparedPositions) * spec.hidden * element;
}

struct Side {
  ModelSpec spec;
  Quantize quantize = Quantize::none;
};

Plan plan_sides(const std::vector<Side>& sides, const Inference& how) {
  std::vector<Plan> plans;
  int64_t kept = 0;
  for (const auto& [spec, quantize] : sides) {
    const Machine machine{.dtype = how.shape.dtype};
    Plan plan = scoring_plan(step_shape(spec, machine, how.hardware, quantize), how.hardware);
    plan.memory.load += kept, plan.memory.eval += kept;
    plan.fits = plan.memory.peak() <= how.hardware.memory_bytes;
    if (!how.hardware.is_gpu) plan.host_peak_bytes = plan.memory.peak();
    plans.push_back(std::move(plan));
    kept = kept_bytes(spec, how.shape.dtype);
  }
  return *std::ranges::max_element(plans, {}, [](const Plan& one) { return one.memory.peak(); });
}

// llama.cpp reads the file as it is and may hold its tensors in another order of blocks, too; a server does so itself.
int64_t witness_bytes(const VerifySection& section) {
  std::error_code error;
  const auto bytes =
      section.llama_cpp.empty() || names_server(section) ? 0 : std::filesystem::file_size(section.artifact, error);
  return error ? 0 : static_cast<int64_t>(bytes);
}

Plan plan_verification(const VerifySection& section, const Inference& how) {
  const int64_t tokens = section.tokens.value_or(how.shape.is_gpu ? kProofTokensGpu : kProofTokensCpu);
  const int64_t context = how.shape.is_gpu ? kGpuContextBytes : kCpuContextBytes;
  const ModelSpec& spec = how.shape.spec;
  const Hardware& hardware = how.hardware;
  const int64_t bytes = verification_bytes(spec, tokens, how.shape.is_gpu) + witness_bytes(section);
  Plan plan{.hardware = hardware, .memory = {.verify = context + bytes}};
  const double flops = 2 * forward_flops_per_token(spec, static_cast<double>(std::min(tokens, spec.max_positions)));
  if (hardware.usable_flops > 0) plan.seconds = flops * static_cast<double>(tokens) / hardware.usable_flops;
  plan.seconds += 2 * loading_seconds(parameter_count(spec) * 4);
  plan.cost = plan.seconds / 3600 * hardware.price_per_hour;
  plan.fits = plan.memory.peak() <= hardware.memory_bytes;
  plan.host_peak_bytes = plan.memory.peak();
  plan.decided = {{"verify.tokens", std::to_string(tokens)}};
  return plan;
}

}  // namespace

template <class R>
Plan inference_plan(R recipe, const PromisedStep& step) {
  std::string wanted;
  if constexpr (requires { recipe.plan; }) wanted = recipe.plan.hardware;
  const auto [machine, hardware] = decide_place(recipe.run, wanted);
  const ModelShape opened = promised_shape(recipe.model, step);
  const Artifact& artifact = opened.artifact;
  RecipeMistakes mistakes;
  if (check_expressions(recipe, mistakes)) check_against_model(recipe, opened, mistakes);
  mistakes.throw_if_any();
  Inference how{.shape = step_shape(opened.spec, machine, hardware, quantize_of(recipe.model, opened.spec)),
                .hardware = hardware};
  if constexpr (requires { recipe.exports; }) {
    how.verify = recipe.exports.verify;  // the run refuses a folder without weights; heads of files are read alone
    if (!opened.promised && artifact.has_weights() && !is_gguf_file(artifact.base)) WeightFolder::open(artifact.base);
  }
  const PlanInference plan_of = [&](const Inference& changed) { return plan_with(recipe, changed); };
  Plan plan = plan_of(how);
  name_nearest(plan, how, changes_left(recipe, how, &artifact), plan_of);
  plan.decided = {{"run.device", *recipe.run.device}};
  return plan;
}

template Plan inference_plan<EvalRecipe>(EvalRecipe, const PromisedStep&);
template Plan inference_plan<ExportRecipe>(ExportRecipe, const PromisedStep&);
template Plan inference_plan<GenerateRecipe>(GenerateRecipe, const PromisedStep&);

Plan comparison_plan(CompareRecipe recipe, const PromisedStep& step) {
  const auto [machine, hardware] = decide_place(recipe.run, "");
  std::vector<Side> sides;
  for (const bool first : {true, false}) {
    const ModelSection model{.path = first ? recipe.compare.a : recipe.compare.b};
    ModelSpec spec = open_shape(model, first ? "compare.a" : "compare.b").spec;
    if (step.side_scores[first ? 0 : 1]) spec = with_score_head(std::move(spec));
    const Quantize quantize = quantize_of(model, spec);
    sides.push_back({std::move(spec), quantize});
  }
  const Inference how{.shape = {.dtype = machine.dtype, .is_gpu = hardware.is_gpu}, .hardware = hardware};
  const PlanInference plan_of = [&](const Inference& changed) { return plan_sides(sides, changed); };
  Plan plan = plan_of(how);
  name_nearest(plan, how, changes_left(recipe, how, nullptr), plan_of);
  plan.decided = {{"run.device", *recipe.run.device}};
  return plan;
}

Plan verification_plan(VerifyRecipe recipe) {
  const auto [machine, hardware] = decide_place(recipe.run, recipe.plan.hardware);
  const ModelSpec spec = open_shape({.path = recipe.verify.model}, "verify.model").spec;
  const Inference how{.shape = step_shape(spec, machine, hardware), .hardware = hardware};
  const PlanInference plan_of = [&](const Inference& changed) { return plan_verification(recipe.verify, changed); };
  Plan plan = plan_of(how);
  name_nearest(plan, how, changes_left(recipe, how, nullptr), plan_of);
  plan.decided.insert(plan.decided.begin(), {"run.device", *recipe.run.device});
  return plan;
}

}  // namespace prentice
