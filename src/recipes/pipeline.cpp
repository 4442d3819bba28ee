// The kind `pipeline`: recipes in order; a step that already stands with the same recipe, inputs and outputs is
// skipped.
#include <fmt/format.h>

#include "config/read.h"
#include "core/error.h"
#include "io/file.h"
#include "io/publish.h"
#include "pages/report.h"
#include "pages/story.h"
#include "products/products.h"
#include "recipes/programs.h"
#include "recipes/validate.h"
#include "run/clock.h"
#include "run/run_folder.h"

namespace prentice {

namespace fs = std::filesystem;

namespace {

int run_step(const ExpandedStep& step, const fs::path& out, const Invocation& pipeline) {
  Invocation invocation = pipeline;
  invocation.kind = step.kind;
  invocation.file = step.file;
  invocation.recipe = step.recipe;
  invocation.json = false;
  invocation.inner = true;
  invocation.pipeline = fs::absolute(out).lexically_normal().string();
  // Products that changed since the step ended were not made by it: it runs again.
  invocation.fresh = run_state(step.out) == RunState::finished && changed_product(step.out).has_value();
  if (invocation.fresh && !is_of_pipeline(step.out, invocation.pipeline)) {
    fail(ExitCode::usage,
         fmt::format("{}: its files have changed since it ended, and this pipeline did not make it", step.out.string()),
         "choose another run.out for the step " + step.name);
  }
  return run_recipe(invocation);
}

// The pipeline's folder shows its last products under their usual names.
void link_products(const fs::path& out, const std::vector<ExpandedStep>& steps) {
  for (const char* name : {"adapter", "merged", "gguf", "serve", "eval.json"}) {
    const fs::path link = out / name;
    fs::path target;
    for (const auto& step : steps) {
      if (fs::exists(step.out / name)) target = fs::relative(step.out / name, out);
    }
    std::error_code error;
    if (fs::is_symlink(link)) fs::remove(link, error);
    if (!error && !target.empty() && !fs::exists(link)) fs::create_symlink(target, link, error);
    if (error) fail_system("link", link, error.value());
  }
}

}  // namespace

int run_program(PipelineRecipe recipe, const Invocation& invocation) {
  validate_recipe(invocation.recipe);  // no step runs before all are known to be good
  const std::vector<ExpandedStep> steps = expand_steps(invocation.recipe);
  RunFolder folder(recipe.run.out, invocation.fresh, IfDifferent::adopt);
  RunDescription description{
      .kind = "pipeline", .command = invocation.command, .recipe = to_yaml(to_node(recipe)), .seed = recipe.run.seed};
  for (const auto& step : steps) description.inputs.push_back({"pipeline.steps." + step.name, step.file});
  folder.begin(description);
  const double started = wall_time();
  Json::Array results;
  for (size_t i = 0; i < steps.size(); ++i) {
    const ExpandedStep& step = steps[i];
    fmt::print(stderr, "\n[{}/{}] {}  {} {}\n", i + 1, steps.size(), step.name, step.kind, step.file);
    const double step_started = wall_time();
    if (const int code = run_step(step, folder.path(), invocation); code != 0) {
      const std::string told =
          fmt::format("pipeline: step {} did not pass; none of the {} behind it ran", step.name, steps.size() - i - 1);
      if (!invocation.inner) fail(static_cast<ExitCode>(code), told);
      fmt::print(stderr, "error: {}\n", told);
      return code;
    }
    results.push_back(Json::Object{{"name", step.name}, {"kind", step.kind}, {"seconds", wall_time() - step_started}});
  }
  const Story story = tell(steps, folder.path());
  publish_file(folder.path() / "report.html", to_html(story_report(story, folder.path())));
  link_products(folder.path(), steps);
  folder.finish({{"steps", results}});
  print_story(story, folder.path(), wall_time() - started, invocation);
  return 0;
}

}  // namespace prentice
