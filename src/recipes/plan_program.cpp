// `plan`: what a recipe needs and takes, before weights load; of a pipeline, step by step.
#include <fmt/format.h>

#include <map>

#include "config/read.h"
#include "core/error.h"
#include "recipes/kinds.h"
#include "recipes/prepare.h"

namespace prentice {

namespace {

// An export and an evaluation hold one model; a plan of theirs is its size.
Plan inference_plan(RunSection run, const ModelSection& model, const PlanSection& wanted, bool export_only) {
  const auto [machine, hardware] = decide_place(run, wanted.hardware);
  const Artifact artifact = resolve_model(model);
  StepShape shape{.spec = open_spec(artifact),
                  .weight_bytes = machine.dtype == c10::kBFloat16 ? 2 : 4,
                  .micro_tokens = 2048,
                  .is_gpu = hardware.is_gpu};
  for (const auto& tensor : expected_tensors(shape.spec)) {
    int64_t elements = 1;
    for (const int64_t size : tensor.shape) elements *= size;
    shape.parameters += elements;
  }
  Plan plan{.hardware = hardware};
  const MemoryByPhase memory = step_memory(shape);
  const int64_t row_block = shape.spec.vocab * shape.spec.hidden * 4;
  if (export_only) {
    plan.memory.export_ = row_block + (int64_t{300} << 20);
    plan.disk_bytes = shape.parameters * 4;
  } else {
    plan.memory.load = memory.load, plan.memory.eval = memory.eval;
  }
  plan.fits = plan.memory.peak() <= plan.hardware.memory_bytes;
  plan.host_peak_bytes = hardware.is_gpu ? kGpuHostBytes : plan.memory.peak();
  plan.decided = {{"run.device", *run.device}};
  return plan;
}

Plan plan_of(const std::string& kind, const Node& node) {
  Plan plan;
  for_each_kind([&](const auto& prototype) {
    using R = std::decay_t<decltype(prototype)>;
    if (R::kKind != kind) return;
    auto recipe = read_recipe<R>(node);
    if constexpr (kTrains<R>) {
      plan = prepare_run(recipe, recipe.plan.hardware).plan;
    } else if constexpr (requires { recipe.plan; }) {
      plan = inference_plan(recipe.run, recipe.model, recipe.plan, std::is_same_v<R, ExportRecipe>);
    } else if constexpr (requires { recipe.model; }) {
      plan = inference_plan(recipe.run, recipe.model, {}, false);
    }
  });
  return plan;
}

// A model that an earlier step will make has that step's shape and tokenizer: the arithmetic needs no weights.
void promise_model(Node& recipe, const std::map<std::string, Node>& promised) {
  Node* model = recipe.find("model");
  const Node* path = model ? model->find("path") : nullptr;
  const auto earlier = path ? promised.find(path->as_string()) : promised.end();
  if (earlier == promised.end()) return;
  for (const char* key : {"path", "tokenizer"}) {
    if (const Node* value = earlier->second.find(key)) model->set(key, *value);
  }
  if (recipe_kind(recipe) != "export") model->set("init", Node::scalar("random"));
}

int plan_pipeline(const Invocation& invocation) {
  validate_recipe(invocation.recipe);
  bool fits = true;
  Json::Array plans;
  std::map<std::string, Node> promised;  // run folder that is not there yet -> the model section it begins with
  for (auto step : expand_steps(invocation.recipe)) {
    promise_model(step.recipe, promised);
    if (const Node* model = step.recipe.find("model"); model && !std::filesystem::exists(step.out)) {
      promised.emplace(step.out.string(), *model);
    }
    const Plan plan = plan_of(step.kind, step.recipe);
    fits = fits && plan.fits;
    if (!invocation.json) fmt::print("{}  {} {}\n{}\n", step.name, step.kind, step.file, to_text(plan));
    plans.push_back(Json::Object{{"name", step.name}, {"plan", to_json(plan)}});
  }
  if (invocation.json) fmt::print("{}\n", Json(Json::Object{{"schema", 1}, {"fits", fits}, {"steps", plans}}).dump());
  return fits ? 0 : static_cast<int>(ExitCode::memory);
}

}  // namespace

int plan_recipe(const Invocation& invocation) {
  if (invocation.kind == "pipeline") return plan_pipeline(invocation);
  const Plan plan = plan_of(invocation.kind, invocation.recipe);
  fmt::print("{}", invocation.json ? to_json(plan).dump() + "\n" : to_text(plan));
  return plan.fits ? 0 : static_cast<int>(ExitCode::memory);
}

}  // namespace prentice
