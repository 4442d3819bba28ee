// The kind `eval`: score an artifact on tasks; eval.json, and with eval.require a gate.
#include <fmt/format.h>

#include "core/error.h"
#include "data/encode.h"
#include "eval/choice.h"
#include "eval/preference.h"
#include "eval/score.h"
#include "io/publish.h"
#include "model/score.h"
#include "recipes/answers.h"
#include "recipes/console.h"
#include "recipes/describe_run.h"
#include "recipes/open.h"
#include "recipes/products.h"
#include "recipes/programs.h"
#include "recipes/stop_tokens.h"
#include "run/progress.h"
#include "run/run_folder.h"
#include "run/signals.h"

namespace prentice {

namespace {

// The training completions are the choices when neither recipe nor records name any.
std::vector<std::string> choices_of(const EvalRecipe& recipe, const Tokenizer& tokenizer, const EncodeOptions& encode) {
  if (recipe.data.train.empty()) return resolve_choices(recipe.eval, nullptr);
  DataSection section = recipe.data;
  section.max_length.reset();  // decided by the rows to score; these only name the answers
  const DataSet train = load_data_set(section.train, section, tokenizer, encode);
  return resolve_choices(recipe.eval, &train);
}

using ShowProgress = std::function<void(const std::string& task, int64_t done, int64_t total)>;

// The one task of a reward model.
PreferenceResult score_pairs(const Model& model, const DataSet& data, const EvalSection& section,
                             const ShowProgress& progress) {
  const auto all = static_cast<int64_t>(data.examples.size());
  const int64_t total = section.limit > 0 ? std::min(all, section.limit) : all;
  const AnswerRows rows{.data = data,
                        .device = model.embed.device(),
                        .limit = section.limit,
                        .micro_tokens = kEvalMicroTokens,
                        .progress = [&](int64_t done) { progress(std::string(kPreferenceTask), done, total); }};
  return score_rewards(rows, [&](const Batch& batch) { return sequence_scores(model, batch, {}); });
}

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
  const Tokenizer& tokenizer = opened.tokenizer;
  EncodeOptions encode{.max_length = recipe.data.max_length.value_or(opened.spec.max_positions),
                       .threads = opened.machine.threads,
                       .for_evaluation = true,
                       .use = opened.spec.labels > 0 ? RowUse::pairs : RowUse::examples};
  const DataSet data = load_data_set(recipe.data.eval, recipe.data, tokenizer, encode);
  if (!recipe.data.max_length) recipe.data.max_length = data.encoded.longest;

  RunFolder folder(recipe.run.out, invocation.fresh, run_policy(invocation));
  if (folder.begin(describe_run(recipe, opened.artifact, *recipe.run.device, invocation)) == RunState::finished) {
    return already_done(folder.path(), invocation);
  }
  if (!invocation.quiet) print_warnings(data.encoded.warnings);
  const Model model = load_weights(opened, recipe.run.seed);
  ProgressPrinter printer(invocation.quiet || invocation.json);
  const ShowProgress progress = [&](const std::string& task, int64_t done, int64_t total) {
    throw_if_stopped();
    printer.show(fmt::format("{} {}/{}", task, done, total));
  };
  EvalReport report;
  if (opened.spec.labels > 0) {
    report = preference_report(recipe.eval, [&] { return score_pairs(model, data, recipe.eval, progress); });
  } else {
    report = evaluate({.model = model,
                       .tokenizer = tokenizer,
                       .data = data,
                       .section = recipe.eval,
                       .choices = choices_of(recipe, tokenizer, encode),
                       .stop_ids = stop_token_ids(opened.artifact, opened.spec, tokenizer),
                       .threads = opened.machine.threads,
                       .progress = progress});
  }
  report.model = opened.artifact.address;
  report.data = scored_files(data, recipe.eval);
  publish_file(folder.path() / "eval.json", to_json(report).dump(1) + "\n");
  if (const std::string answers = answers_jsonl(report, data); !answers.empty()) {
    publish_file(folder.path() / kAnswers, answers);
  }
  write_checksums(folder.path());
  folder.finish();
  return print_score(report, folder.path(), invocation);
}

}  // namespace prentice
