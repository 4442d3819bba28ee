#include "recipes/validate.h"

#include <fmt/format.h>

#include <filesystem>

#include "artifact/score_head.h"
#include "artifact/student.h"
#include "config/address.h"
#include "config/checker.h"
#include "config/distill_rules.h"
#include "config/pipeline.h"
#include "config/preference_rules.h"
#include "data/data_template.h"
#include "data/encode.h"
#include "data/raw_text.h"
#include "distill/teacher.h"
#include "job/graph.h"
#include "job/reference.h"
#include "kernels/cuda_plugin.h"
#include "plan/model_checks.h"
#include "plan/plan_memory.h"
#include "products/calibration.h"
#include "recipes/promises.h"
#include "recipes/verify_sides.h"

namespace prentice {

namespace {

// Whether a second model reads the tokens of the one that trains. Takes the tokenizers of both.
template <class R>
void check_tokens(Checker& c, const R& recipe, const PromisedStep& step, ModelShape shape) {
  const auto student = [&] { return make_student(recipe, open_model(std::move(shape), recipe.model, {})).opened; };
  if (shape.artifact.tokenizer.empty()) return;
  if constexpr (requires { recipe.distill; }) {
    const std::string& teacher = recipe.distill.teacher;
    if (recipe.teacher_promised || names_store(recipe.distill) || !address_exists(teacher, {})) return;
    c.gather("distill.teacher", [&] { open_teacher(recipe, student(), RunUse::plan); });
  }
  if constexpr (requires { recipe.preference; }) {
    const std::string& reference = recipe.preference.reference;
    if (!names_a_model(recipe.preference) || !address_exists(reference, {})) return;
    c.gather("preference.reference", [&] {
      const ModelShape other = reference_shape(recipe.preference);
      if (other.artifact.tokenizer.empty() || step.reference_promised) return;
      require_same_tokens({other.artifact.address, open_tokenizer(other.artifact, other.spec)}, student());
    });
  }
}

// What the adapter of another step gives is known before that step trains. True where the run takes it.
template <class R>
bool check_promised_adapter(const PromisedStep& step, RecipeMistakes& mistakes) {
  if (!kTrains<R> || !step.adapter) return true;
  const Node& init = step.adapter->init;
  return mistakes.gather(init.position(), "adapter.init", [&] {
    require_same_head(init.text(), step.adapter->scores, std::is_same_v<R, RewardRecipe>);
  });
}

// A store keeps no more entries a row than the teacher has tokens.
void check_entries(Checker& c, const TeachRecipe& recipe, const ModelShape& teacher) {
  if (recipe.teach.sample.n > 0 || teacher.artifact.tokenizer.empty()) return;
  const int64_t tokens = open_tokenizer(teacher.artifact, teacher.spec).vocab_size();
  if (recipe.teach.top_k <= tokens) return;
  c.mistake("teach.top_k", fmt::format("expected 1 to {}, got {}", tokens, recipe.teach.top_k),
            fmt::format("the teacher has {} tokens, and no more can be kept of a row", tokens));
}

// The words have been checked: what is wrong there is told already.
template <class R>
void check_with_model(const PromisedStep& step, RecipeMistakes& mistakes) {
  RecipeMistakes told;
  R recipe = bind_recipe<R>(step.step.recipe, {.check_paths = false, .in_pipeline = true}, told);
  if constexpr (requires { recipe.distill; }) take_teacher(recipe, step);
  const bool readable = check_expressions(recipe, mistakes);
  Checker c(recipe, mistakes);
  if (step.second_scores) {
    const bool distils = step.step.kind == DistillRecipe::kKind;
    c.mistake(distils ? "distill.teacher" : "preference.reference",
              "an earlier step makes a reward model of it, which gives a score and no words");
  }
  if (!check_promised_adapter<R>(step, mistakes)) return;
  const auto is_there = [](const std::string& address) { return address.empty() || address_exists(address, {}); };
  const ModelSection& model = recipe.model;
  if (!step.shape_known || model.path.empty() || !is_there(model.path) || !is_there(model.adapter)) return;
  if (std::error_code error; !model.tokenizer.empty() && !std::filesystem::exists(model.tokenizer, error)) return;
  if constexpr (requires { recipe.adapter; }) {
    if (!starts_fresh(recipe.adapter) && !is_there(recipe.adapter.init)) return;
  }
  c.gather("model.path", [&] {
    ModelShape shape = promised_shape(model, step);
    if (readable) check_against_model(recipe, shape, mistakes);
    if constexpr (std::is_same_v<R, TeachRecipe>) check_entries(c, recipe, shape);
    if constexpr (kTrains<R>) {
      if (told.empty()) check_tokens(c, recipe, step, std::move(shape));
    }
  });
}

// What a recipe asks to compute on is there, and does what it asks for, unless it is planned for another machine.
template <class R>
void check_devices(const PromisedStep& step, RecipeMistakes& mistakes, std::vector<std::string>& warnings) {
  RecipeMistakes told;
  const R recipe = bind_recipe<R>(step.step.recipe, {.check_paths = false, .in_pipeline = true}, told);
  if constexpr (requires { recipe.plan; }) {
    if (!recipe.plan.hardware.empty()) return;
  }
  Checker c(recipe, mistakes);
  const auto check = [&](const char* key, const Auto<std::string>& device) {
    if (device && is_device(*device)) c.gather(key, [&] { device_named(key, *device); });
  };
  check("run.device", recipe.run.device);
  if constexpr (kTrains<R>) {
    const bool is_gpu = recipe.run.device ? *recipe.run.device != "cpu" : cuda() != nullptr;
    const std::string why = recipe.train.graph == true ? no_graph_by_recipe(recipe, is_gpu) : "";
    if (!why.empty()) c.mistake("train.graph", why, "train.graph=false, or leave it out");
    const std::string& name = step.step.name;
    if (!is_gpu && recipe.train.offload == true)
      warnings.push_back(name.empty() ? kNothingToOffload : name + ": " + kNothingToOffload);
  }
  if constexpr (requires { recipe.distill; }) check("distill.teacher_device", recipe.distill.teacher_device);
}

// Both sides, where both are there already.
void check_sides(const PromisedStep& step, RecipeMistakes& mistakes) {
  RecipeMistakes told;
  const auto recipe = bind_recipe<VerifyRecipe>(step.step.recipe, {.check_paths = false, .in_pipeline = true}, told);
  check_expressions(recipe, mistakes);
  const auto is_there = [](const std::string& address) { return !address.empty() && address_exists(address, {}); };
  if (!told.empty() || !is_there(recipe.verify.model) || !is_there(recipe.verify.artifact)) return;
  Checker c(recipe, mistakes);
  if (!c.gather("verify.model", [&] { open_verify_model(recipe.verify); })) return;
  c.gather("verify.artifact", [&] { open_verify_sides(recipe.verify); });
}

void check_beyond_words(const PromisedStep& step, RecipeMistakes& mistakes, std::vector<std::string>& warnings) {
  with_kind(recipe_kind(step.step.recipe), [&]<class R>() {
    check_devices<R>(step, mistakes, warnings);
    if constexpr (requires(R recipe) { recipe.model; }) check_with_model<R>(step, mistakes);
    if constexpr (std::is_same_v<R, VerifyRecipe>) check_sides(step, mistakes);
  });
}

// The warning about rows of raw text on a model with a chat template; "" where there is none, and where a part of the
// recipe is not there yet or cannot be read, which a run tells.
template <class R>
std::string raw_text_warning(const PromisedStep& step) {
  RecipeMistakes unreadable;
  const R recipe = bind_recipe<R>(step.step.recipe, {.check_paths = false, .in_pipeline = true}, unreadable);
  if constexpr (requires { recipe.teach; }) {
    if (recipe.teach.sample.n > 0) return "";  // rows are prompts to it
  }
  if (!step.shape_known || !step.data_known) return "";
  bool warns = false;
  unreadable.gather({}, "", [&] {
    if (!begin_raw(recipe.data, use_of(recipe))) return;
    const ModelShape shape = promised_shape(recipe.model, step);
    const Tokenizer tokenizer = open_tokenizer(shape.artifact, shape.spec);
    warns = open_chat_template(recipe.data, tokenizer).has_value();
  });
  return warns ? std::string(kRawTextWarning) : "";
}

// The warning about rows that are calibrated and evaluated on, with the same exceptions.
std::string calibration_warning(const PromisedStep& step) {
  RecipeMistakes unreadable;
  const auto recipe =
      bind_recipe<ImatrixRecipe>(step.step.recipe, {.check_paths = false, .in_pipeline = true}, unreadable);
  std::string warning;
  if (!step.shape_known || !step.data_known || recipe.data.eval.empty()) return warning;
  unreadable.gather({}, "", [&] {
    const ModelShape shape = promised_shape(recipe.model, step);
    const Tokenizer tokenizer = open_tokenizer(shape.artifact, shape.spec);
    warning = calibration_warning(load_calibration(recipe.data, tokenizer, shape.spec, available_threads()));
  });
  return warning;
}

}  // namespace

std::vector<std::string> validate_recipe(const Node& recipe) {
  RecipeMistakes mistakes;
  auto warnings = check_words(recipe, {}, mistakes);
  if (recipe_kind(recipe) != PipelineRecipe::kKind) {
    check_beyond_words({.step = {.recipe = recipe}}, mistakes, warnings);
  } else {
    RecipeMistakes told;
    for (const auto& next : with_promised_models(expand_steps(recipe, told))) {
      check_beyond_words(next, mistakes, warnings);
    }
  }
  mistakes.throw_if_any();
  return warnings;
}

std::vector<std::string> warnings_of_rows(const Node& recipe) {
  std::vector<std::string> warnings;
  const auto look = [&](const PromisedStep& step) {
    with_kind(recipe_kind(step.step.recipe), [&]<class R>() {
      if constexpr (kReadsTrain<R>) {
        constexpr bool calibrates = std::is_same_v<R, ImatrixRecipe>;  // on running text as a rule
        const std::string warning = calibrates ? calibration_warning(step) : raw_text_warning<R>(step);
        const std::string& name = step.step.name;
        if (!warning.empty()) warnings.push_back(name.empty() ? warning : name + ": " + warning);
      }
    });
  };
  if (recipe_kind(recipe) != PipelineRecipe::kKind) {
    look({.step = {.recipe = recipe}});
  } else {
    for (const auto& step : with_promised_models(expand_steps(recipe))) look(step);
  }
  return warnings;
}

}  // namespace prentice
