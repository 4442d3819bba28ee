// Dispatch by kind, and the programs that only look: plan and audit.
#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>
#include <map>

#include "config/read.h"
#include "core/error.h"
#include "data/audit.h"
#include "recipes/console.h"
#include "recipes/kinds.h"
#include "recipes/prepare.h"

namespace prentice {

namespace {

template <class Recipe>
Plan training_plan(const Node& node) {
  auto recipe = read_recipe<Recipe>(node);
  return prepare_run(recipe).plan;
}

// An export and an evaluation hold one model; a plan of theirs is its size.
Plan inference_plan(RunSection run, const ModelSection& model, const PlanSection& wanted, bool export_only) {
  const Machine machine = decide_machine(run);
  const Artifact artifact = resolve_model(model);
  StepShape shape{
      .spec = open_spec(artifact), .weight_bytes = machine.dtype == c10::kBFloat16 ? 2 : 4, .micro_tokens = 2048};
  for (const auto& tensor : expected_tensors(shape.spec)) {
    int64_t elements = 1;
    for (const int64_t size : tensor.shape) elements *= size;
    shape.parameters += elements;
  }
  Plan plan{.hardware = describe_hardware(wanted.hardware, *run.device, machine.threads)};
  const MemoryByPhase memory = step_memory(shape);
  const int64_t row_block = shape.spec.vocab * shape.spec.hidden * 4;
  if (export_only) {
    plan.memory.export_ = row_block + (int64_t{300} << 20);
    plan.disk_bytes = shape.parameters * 4;
  } else {
    plan.memory.load = memory.load, plan.memory.eval = memory.eval;
  }
  plan.fits = plan.memory.peak() <= plan.hardware.memory_bytes;
  plan.host_peak_bytes = plan.memory.peak();
  plan.decided = {{"run.device", *run.device}};
  return plan;
}

Plan plan_of(const std::string& kind, const Node& node) {
  if (kind == "sft") return training_plan<SftRecipe>(node);
  if (kind == "pretrain") return training_plan<PretrainRecipe>(node);
  if (kind == "eval") {
    const auto recipe = read_recipe<EvalRecipe>(node);
    return inference_plan(recipe.run, recipe.model, recipe.plan, false);
  }
  if (kind == "export") {
    const auto recipe = read_recipe<ExportRecipe>(node);
    return inference_plan(recipe.run, recipe.model, recipe.plan, true);
  }
  const auto recipe = read_recipe<GenerateRecipe>(node);
  return inference_plan(recipe.run, recipe.model, {}, false);
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

Json to_json(const AuditSequence& sequence) {
  Json::Array ids, trained;
  for (const auto& token : sequence.tokens) ids.push_back(token.id), trained.push_back(token.trained);
  return Json::Object{
      {"file", sequence.origin.file}, {"line", sequence.origin.line}, {"ids", ids}, {"trained", trained}};
}

Json to_json(const Audit& audit) {
  Json::Array sequences;
  for (const auto& sequence : audit.sequences) sequences.push_back(to_json(sequence));
  return Json::Object{{"schema", 1},
                      {"description", audit.description},
                      {"rows", audit.rows},
                      {"tokens", audit.totals.tokens},
                      {"trained_tokens", audit.totals.trained_tokens},
                      {"longest", audit.totals.lengths.max},
                      {"dropped", audit.dropped},
                      {"truncated", audit.truncated},
                      {"warnings", Json::Array(audit.warnings.begin(), audit.warnings.end())},
                      {"sequences", sequences}};
}

template <class Recipe>
void print_audit(const Invocation& invocation) {
  auto recipe = read_recipe<Recipe>(invocation.recipe);
  const Machine machine = decide_machine(recipe.run);
  apply_machine(machine, recipe.run.deterministic);
  const Artifact artifact = resolve_model(recipe.model);
  const ModelSpec spec = open_spec(artifact);
  const Tokenizer tokenizer = open_tokenizer(artifact, spec);
  const EncodeOptions encode{.max_length = recipe.data.max_length.value_or(spec.max_positions),
                             .threads = machine.threads};
  const TrainEvalSets data = load_data(recipe.data, tokenizer, encode, static_cast<uint64_t>(recipe.run.seed));
  const Audit audit = audit_data(data.train, tokenizer, invocation.rows);
  if (invocation.json) {
    fmt::print("{}\n", to_json(audit).dump());
    return;
  }
  const bool colour = isatty(STDOUT_FILENO) && !std::getenv("NO_COLOR");
  fmt::print("{}", render_audit(audit, colour ? AuditStyle::colour : AuditStyle::brackets));
  for (const auto& line : data.overlap) fmt::print("warning: the same row in train and eval: {}\n", line);
}

}  // namespace

int run_recipe(const Invocation& invocation) {
  const Node& node = invocation.recipe;
  if (invocation.kind == "pretrain") return run_pretrain(read_recipe<PretrainRecipe>(node), invocation);
  if (invocation.kind == "sft") return run_sft(read_recipe<SftRecipe>(node), invocation);
  if (invocation.kind == "eval") return run_eval(read_recipe<EvalRecipe>(node), invocation);
  if (invocation.kind == "export") return run_export(read_recipe<ExportRecipe>(node), invocation);
  if (invocation.kind == "generate") return run_generate(read_recipe<GenerateRecipe>(node), invocation);
  return run_pipeline(read_recipe<PipelineRecipe>(node), invocation);
}

int plan_recipe(const Invocation& invocation) {
  if (!invocation.fit.empty()) fail(ExitCode::usage, "--fit: not in this version");
  if (invocation.kind == "pipeline") return plan_pipeline(invocation);
  const Plan plan = plan_of(invocation.kind, invocation.recipe);
  fmt::print("{}", invocation.json ? to_json(plan).dump() + "\n" : to_text(plan));
  return plan.fits ? 0 : static_cast<int>(ExitCode::memory);
}

int audit_recipe(const Invocation& invocation) {
  if (invocation.kind == "sft") {
    print_audit<SftRecipe>(invocation);
  } else if (invocation.kind == "pretrain") {
    print_audit<PretrainRecipe>(invocation);
  } else {
    fail(ExitCode::usage, "audit: a recipe of kind '" + invocation.kind + "' trains on no data",
         "audit takes an sft or pretrain recipe");
  }
  return 0;
}

int resume_run(const std::filesystem::path& folder, const Invocation& invocation) {
  if (run_state(folder) == RunState::fresh || !std::filesystem::exists(folder / "recipe.yaml")) {
    fail(ExitCode::usage, folder.string() + ": there is no run to resume here",
         "`prentice run RECIPE.yaml` starts one");
  }
  Invocation again = invocation;
  again.file = (folder / "recipe.yaml").string();
  again.recipe = read_recipe_file(again.file, {"run.out=" + std::filesystem::absolute(folder).string()});
  again.kind = recipe_kind(again.recipe);
  return run_recipe(again);
}

}  // namespace prentice
