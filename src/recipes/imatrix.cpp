// The kind `imatrix`: a model is run on calibration data, and the squares of what enters its layers are kept as an
// importance matrix, a file that export.imatrix and llama.cpp's own quantizer read.
#include "recipes/imatrix.h"

#include <fmt/format.h>

#include <algorithm>

#include "artifact/describe_run.h"
#include "config/words.h"
#include "core/units.h"
#include "eval/score.h"
#include "io/publish.h"
#include "pages/console.h"
#include "plan/model_checks.h"
#include "plan/nearest_inference.h"
#include "products/products.h"
#include "recipes/programs.h"
#include "run/progress.h"
#include "run/run_folder.h"
#include "run/signals.h"

namespace prentice {

namespace fs = std::filesystem;

namespace {

// Columns that nothing ever entered say nothing of themselves.
int64_t silent_columns(const ImportanceMatrix& matrix) {
  int64_t silent = 0;
  for (const auto& [name, entry] : matrix.entries) silent += std::ranges::count(entry.sums, 0.0f);
  return silent;
}

std::string size_words(const Calibration& calibration) {
  const auto pieces = calibration.sequences.size();
  return fmt::format(
      "{} tokens in {} {}{}", calibration.tokens, pieces,
      calibration.left_out > 0 || calibration.rows.format == DataFormat::text ? "chunks" : "rows",
      calibration.left_out > 0 ? fmt::format(" ({} behind the last are left out)", calibration.left_out) : "");
}

void print_start(const Calibration& calibration, const Plan& plan, const std::vector<std::string>& warnings,
                 bool quiet) {
  if (!quiet) fmt::print(stderr, "{}: {}\n", calibration.rows.description, size_words(calibration));
  print_warnings(warnings);
  if (const auto line = calibration_warning(calibration); !line.empty()) print_warnings(std::vector{line});
  if (!quiet)
    fmt::print(stderr, "plan: about {}, {} of memory\n", human_duration(plan.seconds),
               human_bytes(static_cast<double>(plan.memory.peak())));
}

Json::Object results_of(const ImportanceMatrix& matrix, const Calibration& calibration, const fs::path& file) {
  return {{"imatrix", file.string()},
          {"entries", matrix.entries.size()},
          {"tokens", calibration.tokens},
          {"chunks", static_cast<int64_t>(calibration.chunks)},
          {"silent_columns", silent_columns(matrix)},
          {"overlap", Json::Array(calibration.overlap.begin(), calibration.overlap.end())}};
}

void print_end(const Json::Object& results, const fs::path& file, const fs::path& out, const Invocation& invocation) {
  if (invocation.json) {
    Json::Object json{{"schema", 1}, {"out", out.string()}};
    json.insert(json.end(), results.begin(), results.end());
    fmt::print("{}\n", Json(std::move(json)).dump());
    return;
  }
  if (invocation.inner) return;  // the pipeline tells it at its end
  fmt::print("  imatrix   {}\n  next      prentice export export.imatrix={} export.gguf=[Q4_K_M] ...\n", file.string(),
             file.string());
}

}  // namespace

Calibration prepare_calibration(ImatrixRecipe& recipe, const Opened& opened) {
  Calibration calibration = load_calibration(recipe.data, opened.tokenizer, opened.spec, opened.machine.threads);
  if (!recipe.data.max_length) {
    const bool is_text = calibration.rows.format == DataFormat::text;
    recipe.data.max_length = is_text ? calibration.chunk_size : calibration.rows.encoded.longest;
  }
  return calibration;
}

Plan plan_imatrix(const ImatrixRecipe& recipe, const Calibration& calibration, const Opened& opened,
                  const Hardware& hardware) {
  StepShape shape = step_shape(opened.spec, opened.machine, hardware, opened.quantize);
  for (const auto& sequence : calibration.sequences) shape.longest = std::max(shape.longest, sequence.size());
  shape.micro_tokens = std::clamp(shape.longest, std::min(calibration.tokens, kEvalMicroTokens), calibration.tokens);
  shape.labelled = 1;  // the head is not asked
  const PlanInference plan_of = [](const Inference& how) { return scoring_plan(how.shape, how.hardware); };
  const Inference how{.shape = shape, .hardware = hardware};
  Plan plan = plan_of(how);
  name_nearest(plan, how, changes_left(recipe, how, &opened.artifact), plan_of);
  plan.steps = static_cast<int64_t>(calibration.sequences.size());
  plan.tokens_per_step = static_cast<double>(calibration.tokens) / static_cast<double>(plan.steps);
  if (hardware.usable_flops > 0) {
    const double flops = forward_flops_per_token(opened.spec, plan.tokens_per_step);
    plan.seconds = flops * static_cast<double>(calibration.tokens) / hardware.usable_flops;
  }
  plan.seconds += loading_seconds(shape.parameters * static_cast<int64_t>(c10::elementSize(shape.dtype)));
  plan.cost = plan.seconds / 3600 * hardware.price_per_hour;
  plan.decided = {{"run.device", *recipe.run.device},
                  {"run.precision", std::string(word_of(*recipe.run.precision))},
                  {"run.threads", std::to_string(*recipe.run.threads)},
                  {"data.max_length", std::to_string(*recipe.data.max_length)}};
  return plan;
}

int run_program(ImatrixRecipe recipe, const Invocation& invocation) {
  const auto [machine, hardware] = decide_place(recipe.run, "");
  const Opened opened = open_recipe(std::as_const(recipe), machine);
  const Calibration calibration = prepare_calibration(recipe, opened);
  const Plan plan = plan_imatrix(recipe, calibration, opened, hardware);
  RunFolder folder(recipe.run.out, invocation.fresh, run_policy(invocation));
  if (folder.begin(describe_run(recipe, opened.artifact, hardware.name, invocation)) == RunState::finished)
    return already_done(folder.path(), invocation);
  if (!plan.fits) refuse_plan(plan);
  print_start(calibration, plan, recipe.warnings, invocation.quiet);

  const Model model = load_weights(opened, static_cast<uint64_t>(recipe.run.seed));
  ProgressPrinter printer(invocation.quiet || invocation.json);
  const ImportanceMatrix matrix = collect_importance(model, calibration, [&](int64_t done, int64_t total) {
    throw_if_stopped();
    printer.show(fmt::format("imatrix {}/{}", done, total));
  });
  TempFile file(folder.path() / kImatrixFile);
  write_importance(matrix, file.path());
  file.publish(IfExists::replace);
  write_checksums(folder.path());
  auto results = results_of(matrix, calibration, folder.path() / kImatrixFile);
  folder.finish(results);
  print_end(results, folder.path() / kImatrixFile, folder.path(), invocation);
  return 0;
}

}  // namespace prentice
