#include "job/validation.h"

#include <algorithm>

#include "artifact/stop_tokens.h"
#include "eval/choice.h"
#include "eval/scored_answers.h"
#include "io/publish.h"

namespace prentice {

namespace fs = std::filesystem;

Validation::Validation(const Model& model, const PreparedRun& run, EvalSection section, int64_t micro_tokens)
    : run_(run) {
  auto& tasks = section.tasks;
  const auto runs = [&](const char* task) { return std::find(tasks.begin(), tasks.end(), task) != tasks.end(); };
  if (!runs("loss")) tasks.insert(tasks.begin(), "loss");
  std::vector<std::string> choices;
  if (runs("choice")) choices = resolve_choices(section, &run.data.train);
  const auto stop_ids = stop_token_ids(run.opened.artifact, run.opened.spec, run.opened.tokenizer);
  score_ = [&model, &run, section, choices, stop_ids, micro_tokens] {
    const Model at_hand = with_head_at_hand(model);
    return evaluate({.model = at_hand,
                     .tokenizer = run.opened.tokenizer,
                     .data = *run.data.eval,
                     .section = section,
                     .choices = choices,
                     .stop_ids = stop_ids,
                     .micro_tokens = micro_tokens,
                     .threads = run.opened.machine.threads,
                     .stop = [] { return stop_signal() != 0; }});
  };
}

std::function<std::map<std::string, double>()> Validation::hook(const fs::path& out) const {
  if (!has_data()) return {};
  return [this, early = out / kEarlyAnswersFile] {
    std::map<std::string, double> found;
    const EvalReport report = score();
    if (const std::string answers = scored_answers_jsonl(report, *run_.data.eval);
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
