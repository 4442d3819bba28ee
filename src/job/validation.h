// Scores the model on the held-out rows while it trains, and once more at the end.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "config/schema.h"
#include "eval/preference.h"
#include "eval/score.h"
#include "job/prepared_run.h"
#include "run/signals.h"

namespace prentice {

// The held-out rows of a run that compares answers, which must have some; `run` must outlive it.
template <class Recipe>
AnswerRows held_out_answers(const PreparedRun& run, const Recipe& recipe) {
  return {.data = *run.data.eval,
          .device = run.opened.machine.device,
          .limit = recipe.eval.limit,
          .micro_tokens = *recipe.train.micro_tokens,
          .stop = [] { return stop_signal() != 0; }};
}

class Validation {
 public:
  // `score` is asked when there are held-out rows, and gives their report. `run` must outlive this.
  Validation(const PreparedRun& run, std::function<EvalReport()> score) : run_(run), score_(std::move(score)) {}
  // The tasks of the section, and always the loss. All arguments but the section must outlive it.
  Validation(const Model& model, const PreparedRun& run, EvalSection section, int64_t micro_tokens);

  bool has_data() const { return run_.data.eval.has_value(); }
  // Cut short by a stop signal, when it is worth nothing: ask stop_signal().
  EvalReport score() const { return score_(); }

  // Keeps the answers of its first call, before training, in `out`/examples_before.jsonl. Gives
  // {"eval.loss", and "eval.accuracy" where a task gives one}; empty without held-out rows.
  std::function<std::map<std::string, double>()> hook(const std::filesystem::path& out) const;

 private:
  const PreparedRun& run_;
  std::function<EvalReport()> score_;
};

}  // namespace prentice
