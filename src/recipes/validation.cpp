#include "recipes/validation.h"

#include <algorithm>

#include "eval/choice.h"
#include "recipes/stopping.h"
#include "train/signals.h"

namespace prentice {

Validation::Validation(const Model& model, const PreparedRun& run, EvalSection section, int64_t micro_tokens)
    : model_(model),
      run_(run),
      section_(std::move(section)),
      micro_tokens_(micro_tokens),
      stop_ids_(stop_token_ids(run.artifact, run.spec, run.tokenizer)) {
  auto& tasks = section_.tasks;
  const auto runs = [&](const char* task) { return std::find(tasks.begin(), tasks.end(), task) != tasks.end(); };
  if (!runs("loss")) tasks.insert(tasks.begin(), "loss");
  if (runs("choice")) choices_ = resolve_choices(section_, &run.data.train);
}

EvalReport Validation::score() const {
  return evaluate({.model = model_,
                   .tokenizer = run_.tokenizer,
                   .data = *run_.data.eval,
                   .section = section_,
                   .choices = choices_,
                   .stop_ids = stop_ids_,
                   .micro_tokens = micro_tokens_,
                   .threads = run_.machine.threads,
                   .stop = [] { return stop_signal() != 0; }});
}

std::function<std::map<std::string, double>()> Validation::hook() const {
  if (!has_data()) return {};
  return [this] {
    std::map<std::string, double> found;
    for (const auto& [metric, value] : metrics(score())) {
      if (metric == "loss" || metric == "accuracy") found["eval." + metric] = value;
    }
    return found;
  };
}

}  // namespace prentice
