// The kind `compare`: two artifacts on the same rows with a paired test; compare.json, compare.md, and the decision as
// exit code.
#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "eval/score.h"
#include "io/gguf.h"
#include "io/publish.h"
#include "io/safetensors.h"
#include "recipes/comparison_page.h"
#include "recipes/console.h"
#include "recipes/describe_run.h"
#include "recipes/products.h"
#include "recipes/programs.h"
#include "recipes/scoring.h"
#include "run/run_folder.h"

namespace prentice {

namespace {

struct Side {
  std::string key;  // compare.a
  Opened opened;
  DataSet data;

  std::string name() const { return key.substr(key.size() - 1); }
};

// What is left out of the rows, told before they are scored.
std::vector<std::string> row_warnings(const std::vector<Side>& sides) {
  std::vector<std::string> told;
  for (const auto& side : sides) {
    for (const auto& warning : side.data.encoded.warnings) told.push_back(side.name() + ": " + warning);
  }
  return told;
}

bool asks_preference(const EvalSection& eval) {
  return std::ranges::find(eval.tasks, kPreferenceTask) != eval.tasks.end();
}

// Rows are loaded by open_sides, when the shorter context of the two is known.
Opened open_side(const CompareRecipe& recipe, const Machine& machine, const std::string& key,
                 const std::string& address) {
  ModelShape shape = open_shape({.path = address}, key);
  require_weights(key, shape.artifact, "name the folder of a model, or a run");
  if ((shape.spec.labels == 1) != asks_preference(recipe.eval)) {
    fail(ExitCode::usage,
         fmt::format("{}: {} {}", key, address,
                     shape.spec.labels == 1 ? "is a reward model, which gives a score and no words"
                                            : "is a language model, which scores no pairs"),
         shape.spec.labels == 1 ? "eval.tasks=[preference] compares scores on pairs" : "use loss, choice or exact");
  }
  return open_model(std::move(shape), {.path = address}, machine);
}

std::vector<Side> open_sides(CompareRecipe& recipe) {
  RecipeMistakes mistakes;
  check_expressions(recipe, mistakes);
  mistakes.throw_if_any();
  const Machine machine = decide_machine(recipe.run);
  apply_machine(machine, recipe.run.deterministic);
  std::vector<Side> sides;
  sides.push_back({"compare.a", open_side(recipe, machine, "compare.a", recipe.compare.a), {}});
  sides.push_back({"compare.b", open_side(recipe, machine, "compare.b", recipe.compare.b), {}});
  const int64_t context = std::min(sides[0].opened.spec.max_positions, sides[1].opened.spec.max_positions);
  if (recipe.data.max_length.value_or(0) > context) {
    fail(ExitCode::usage, fmt::format("data.max_length: {} is above the shorter trained context of the two, {}",
                                      *recipe.data.max_length, context));
  }
  if (!recipe.data.max_length) recipe.data.max_length = context;
  for (auto& side : sides) side.data = load_rows_to_score(side.opened, recipe.data);
  return sides;
}

// Of what is loaded: the model's files and the adapter's, not what a checkpoint keeps beside them.
uint64_t weight_bytes(const Artifact& artifact) {
  uint64_t bytes = 0;
  for (const auto& [folder, name] : {std::pair(artifact.base, "model"), {artifact.adapter, "adapter_model"}}) {
    if (folder.empty()) continue;
    if (is_gguf_file(folder)) {
      bytes += std::filesystem::file_size(folder);
      continue;
    }
    const WeightFolder weights = WeightFolder::open(folder, name);
    for (const auto& file : weights.files()) bytes += std::filesystem::file_size(file.path());
  }
  return bytes;
}

// Of a finished comparison whose files are still those that it wrote.
int done_before(const std::filesystem::path& out, const Invocation& invocation) {
  if (!products_intact(out)) {
    fail(ExitCode::usage, out.string() + ": its files have changed since it ended", "--fresh compares again");
  }
  return already_done(out, invocation);
}

}  // namespace

int run_program(CompareRecipe recipe, const Invocation& invocation) {
  const std::vector<Side> sides = open_sides(recipe);
  const PairedRows rows = pair_rows(sides[0].data.encoded, sides[1].data.encoded, recipe.eval.limit);
  const CompareOptions options{.metric = deciding_metric(recipe.compare.metric, recipe.eval.tasks, rows),
                               .confidence = recipe.compare.confidence,
                               .seed = static_cast<uint64_t>(recipe.run.seed)};
  RunFolder folder(recipe.run.out, invocation.fresh, run_policy(invocation));
  const auto description = describe_run(recipe, sides[0].opened.artifact, *recipe.run.device, invocation);
  if (folder.begin(description) == RunState::finished) return done_before(folder.path(), invocation);

  const auto of_rows = row_warnings(sides);
  if (!invocation.quiet) print_warnings(of_rows);
  std::vector<EvalReport> reports;
  ComparisonPage page{.margin = recipe.compare.margin, .confidence = recipe.compare.confidence};
  for (const auto& side : sides) {
    const auto progress = scoring_progress(invocation, side.name() + " ");
    reports.push_back(score_rows(side.opened, side.data, {recipe.run, recipe.data, recipe.eval}, progress));
    page.artifacts.push_back({side.opened.artifact.address, weight_bytes(side.opened.artifact)});
  }
  page.comparison = compare_reports(reports[0], reports[1], rows, options);
  auto& warnings = page.comparison.warnings;
  if (!invocation.quiet) print_warnings(warnings);
  warnings.insert(warnings.begin(), of_rows.begin(), of_rows.end());
  const ComparedMetric& decisive = page.comparison.decisive();
  page.decision = decide(decisive.found, decisive.lower_is_better, page.margin);
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
