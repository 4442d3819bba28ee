// The kind `compare`: two artifacts on the same rows with a paired test; compare.json, compare.md, and the decision as
// exit code.
#include <fmt/format.h>

#include "artifact/describe_run.h"
#include "core/error.h"
#include "eval/label_states.h"
#include "eval/score.h"
#include "io/publish.h"
#include "pages/comparison_page.h"
#include "pages/console.h"
#include "products/products.h"
#include "recipes/compare_sides.h"
#include "recipes/programs.h"
#include "recipes/scoring.h"
#include "run/run_folder.h"
#include "run/signals.h"

namespace prentice {

int run_program(CompareRecipe recipe, const Invocation& invocation) {
  const std::vector<ComparedSide> sides = open_compared_sides(recipe);
  const PairedRows rows = pair_rows(sides[0].data.encoded, sides[1].data.encoded, recipe.eval.limit);
  const CompareOptions options{.metric = deciding_metric(recipe.compare.metric, recipe.eval.tasks, rows),
                               .confidence = recipe.compare.confidence,
                               .seed = static_cast<uint64_t>(recipe.run.seed)};
  RunFolder folder(recipe.run.out, invocation.fresh, run_policy(invocation));
  const auto description = describe_run(recipe, sides[0].opened.artifact, *recipe.run.device, invocation);
  if (folder.begin(description) == RunState::finished) return already_done(folder.path(), invocation);

  const auto of_rows = row_warnings(sides);
  print_warnings(of_rows);
  std::vector<EvalReport> reports;
  std::vector<LabelStates> states;
  ComparisonPage page{.margin = recipe.compare.margin, .confidence = recipe.compare.confidence};
  for (const auto& side : sides) {
    const auto progress = scoring_progress(invocation, side.name() + " ");
    reports.push_back(
        score_rows(side.opened, side.data, {recipe.run, recipe.data, recipe.eval}, progress, [&](const Model& model) {
          states.push_back(label_states(model, side.data.encoded, static_cast<int64_t>(rows.origins.size()),
                                        [] { throw_if_stopped(); }));
        }));
    page.artifacts.push_back({.address = side.opened.artifact.address,
                              .weight_bytes = weight_bytes(side.opened.artifact),
                              .tokens = states.back().tokens,
                              .seconds = states.back().seconds});
  }
  page.comparison = compare_reports(reports[0], reports[1], rows, options);
  const std::string incomparable = why_no_divergence(sides, rows);
  if (incomparable.empty() && states[0].hidden.defined()) page.divergence = mean_divergence(states[0], states[1]);
  auto& warnings = page.comparison.warnings;
  if (!incomparable.empty()) warnings.push_back(incomparable);
  print_warnings(warnings);
  warnings.insert(warnings.begin(), of_rows.begin(), of_rows.end());
  const ComparedMetric& decisive = page.comparison.decisive();
  const bool same_outputs = page.divergence && page.divergence->positions > 0 && page.divergence->same;
  page.decision = decide(decisive.found, decisive.lower_is_better, page.margin, same_outputs);
  page.data = scored_files(sides[0].data, recipe.eval);

  publish_file(folder.path() / "compare.json", to_json(page).dump(1) + "\n");
  publish_file(folder.path() / "compare.md", to_markdown(page));
  write_checksums(folder.path());
  folder.finish();
  if (invocation.json) {
    fmt::print("{}\n", to_json(page).dump());
  } else {
    fmt::print(invocation.inner ? stderr : stdout, "{}", to_text(page));
    if (!invocation.inner) fmt::print("{}\n", (folder.path() / "compare.md").string());
  }
  return page.decision.passed() ? 0 : tell_comparison(sentence(page));
}

}  // namespace prentice
