#include "recipes/scoring.h"

#include <fmt/format.h>

#include <memory>

#include "artifact/stop_tokens.h"
#include "data/encode.h"
#include "eval/choice.h"
#include "eval/preference.h"
#include "eval/score.h"
#include "model/score.h"
#include "run/progress.h"
#include "run/signals.h"

namespace prentice {

namespace {

EncodeOptions encoding(const Opened& opened, const DataSection& data) {
  return {.max_length = data.max_length.value_or(opened.spec.max_positions),
          .threads = opened.machine.threads,
          .for_evaluation = true,
          .use = opened.spec.labels > 0 ? RowUse::pairs : RowUse::examples};
}

// The training completions are the choices when neither recipe nor records name any.
std::vector<std::string> choices_of(const ScoredSections& sections, const Opened& opened) {
  if (sections.data.train.empty()) return resolve_choices(sections.eval, nullptr);
  DataSection section = sections.data;
  section.max_length.reset();  // decided by the rows to score; these only name the answers
  const DataSet train = load_data_set(section.train, section, opened.tokenizer, encoding(opened, section));
  return resolve_choices(sections.eval, &train);
}

// The one task of a reward model.
PreferenceResult score_pairs(const Model& model, const DataSet& data, const EvalSection& section,
                             const ScoringProgress& progress) {
  const auto all = static_cast<int64_t>(data.examples.size());
  const int64_t total = section.limit > 0 ? std::min(all, section.limit) : all;
  const AnswerRows rows{.data = data,
                        .device = device_of(model),
                        .limit = section.limit,
                        .micro_tokens = kEvalMicroTokens,
                        .progress = [&](int64_t done) { progress(std::string(kPreferenceTask), done, total); }};
  return score_rewards(rows, [&](const Batch& batch) { return sequence_scores(model, batch, {}); });
}

}  // namespace

DataSet load_rows_to_score(const Opened& opened, const DataSection& data) {
  return load_data_set(data.eval, data, opened.tokenizer, encoding(opened, data));
}

ScoringProgress scoring_progress(const Invocation& invocation, const std::string& before) {
  const auto printer = std::make_shared<ProgressPrinter>(invocation.quiet || invocation.json);
  return [printer, before](const std::string& task, int64_t done, int64_t total) {
    throw_if_stopped();
    printer->show(fmt::format("{}{} {}/{}", before, task, done, total));
  };
}

EvalReport score_rows(const Opened& opened, const DataSet& data, const ScoredSections& sections,
                      const ScoringProgress& progress, const std::function<void(const Model&)>& before_release) {
  const Model model = load_weights(opened, sections.run.seed);
  const auto score = [&] {
    if (opened.spec.labels > 0) {
      return preference_report(sections.eval, [&] { return score_pairs(model, data, sections.eval, progress); });
    }
    return evaluate({.model = model,
                     .tokenizer = opened.tokenizer,
                     .data = data,
                     .section = sections.eval,
                     .choices = choices_of(sections, opened),
                     .stop_ids = stop_token_ids(opened.artifact, opened.spec, opened.tokenizer),
                     .threads = opened.machine.threads,
                     .progress = progress});
  };
  EvalReport report = score();
  if (before_release) before_release(model);
  return report;
}

}  // namespace prentice
