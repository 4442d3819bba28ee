// The kind `eval`: score an artifact on tasks; eval.json, and with eval.require a gate.
#include <fmt/format.h>

#include "artifact/describe_run.h"
#include "artifact/open.h"
#include "eval/score.h"
#include "eval/scored_answers.h"
#include "io/publish.h"
#include "pages/console.h"
#include "plan/model_checks.h"
#include "products/products.h"
#include "recipes/programs.h"
#include "recipes/scoring.h"
#include "run/run_folder.h"

namespace prentice {

namespace {

int print_score(const EvalReport& report, const std::filesystem::path& out, const Invocation& invocation) {
  if (invocation.json) {
    fmt::print("{}\n", to_json(report).dump());
  } else {
    for (const auto& warning : report.warnings) fmt::print(stderr, "warning: {}\n", warning);
    std::FILE* to = invocation.inner ? stderr : stdout;  // the end of other work is its own
    for (const auto& line : summary(report)) fmt::print(to, "{}\n", line);
    if (!invocation.inner) fmt::print("{}\n", (out / "eval.json").string());
  }
  return tell_gates(report);
}

}  // namespace

int run_program(EvalRecipe recipe, const Invocation& invocation) {
  const Opened opened = open_recipe(recipe);
  const DataSet data = load_rows_to_score(opened, recipe.data);
  if (!recipe.data.max_length) recipe.data.max_length = data.encoded.longest;

  RunFolder folder(recipe.run.out, invocation.fresh, run_policy(invocation));
  if (folder.begin(describe_run(recipe, opened.artifact, *recipe.run.device, invocation)) == RunState::finished) {
    return already_done(folder.path(), invocation);
  }
  print_warnings(data.encoded.warnings);
  EvalReport report = score_rows(opened, data, {recipe.run, recipe.data, recipe.eval}, scoring_progress(invocation));
  report.model = opened.artifact.address;
  report.data = scored_files(data, recipe.eval);
  publish_file(folder.path() / "eval.json", to_json(report).dump(1) + "\n");
  if (const std::string answers = scored_answers_jsonl(report, data); !answers.empty()) {
    publish_file(folder.path() / kScoredAnswersFile, answers);
  }
  write_checksums(folder.path());
  folder.finish();
  return print_score(report, folder.path(), invocation);
}

}  // namespace prentice
