#include "recipes/validation.h"

#include <algorithm>

#include "eval/choice.h"
#include "io/publish.h"
#include "recipes/answers.h"
#include "recipes/stopping.h"
#include "run/signals.h"

namespace prentice {

namespace fs = std::filesystem;

Validation::Validation(const Model& model, const PreparedRun& run, EvalSection section, int64_t micro_tokens)
    : model_(model),
      run_(run),
      section_(std::move(section)),
      micro_tokens_(micro_tokens),
      stop_ids_(stop_token_ids(run.opened.artifact, run.opened.spec, run.opened.tokenizer)) {
  auto& tasks = section_.tasks;
  const auto runs = [&](const char* task) { return std::find(tasks.begin(), tasks.end(), task) != tasks.end(); };
  if (!runs("loss")) tasks.insert(tasks.begin(), "loss");
  if (runs("choice")) choices_ = resolve_choices(section_, &run.data.train);
}

EvalReport Validation::score() const {
  return evaluate({.model = model_,
                   .tokenizer = run_.opened.tokenizer,
                   .data = *run_.data.eval,
                   .section = section_,
                   .choices = choices_,
                   .stop_ids = stop_ids_,
                   .micro_tokens = micro_tokens_,
                   .threads = run_.opened.machine.threads,
                   .stop = [] { return stop_signal() != 0; }});
}

std::function<std::map<std::string, double>()> Validation::hook(const fs::path& out) const {
  if (!has_data()) return {};
  return [this, early = out / kEarlyAnswers] {
    std::map<std::string, double> found;
    const EvalReport report = score();
    if (const std::string answers = answers_jsonl(report, *run_.data.eval);
        !answers.empty() && stop_signal() == 0 && !fs::exists(early)) {
      publish_file(early, answers);
    }
    for (const auto& [metric, value] : metrics(report)) {
      if (metric == "loss" || metric == "accuracy") found["eval." + metric] = value;
    }
    return found;
  };
}

}  // namespace prentice
