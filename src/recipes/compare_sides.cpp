#include "recipes/compare_sides.h"

#include <fmt/format.h>

#include <algorithm>

#include "artifact/vocabulary.h"
#include "config/kinds.h"
#include "core/error.h"
#include "io/gguf.h"
#include "io/safetensors.h"
#include "plan/model_checks.h"
#include "recipes/scoring.h"

namespace prentice {

namespace {

bool asks_preference(const EvalSection& eval) {
  return std::ranges::find(eval.tasks, kPreferenceTask) != eval.tasks.end();
}

// Rows are loaded by open_compared_sides, when the shorter context of the two is known.
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

}  // namespace

std::vector<std::string> row_warnings(const std::vector<ComparedSide>& sides) {
  std::vector<std::string> told;
  for (const auto& side : sides) {
    for (const auto& warning : side.data.encoded.warnings) told.push_back(side.name() + ": " + warning);
  }
  return told;
}

std::vector<ComparedSide> open_compared_sides(CompareRecipe& recipe) {
  RecipeMistakes mistakes;
  check_expressions(recipe, mistakes);
  mistakes.throw_if_any();
  const Machine machine = decide_machine(recipe.run);
  apply_machine(machine, recipe.run.deterministic);
  std::vector<ComparedSide> sides;
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

std::string why_no_divergence(const std::vector<ComparedSide>& sides, const PairedRows& rows) {
  const Opened &a = sides.at(0).opened, &b = sides.at(1).opened;
  if (a.spec.labels > 0) return "";  // scores, and no warning for what nobody expects
  const std::string difference =
      vocabulary_difference({b.artifact.address, b.tokenizer}, {a.artifact.address, a.tokenizer});
  if (!difference.empty()) return "KLD is not compared: " + difference;
  return rows.same_tokens ? "" : "KLD is not compared: the two cut the rows into different tokens";
}

}  // namespace prentice
