#include "config/eval_rules.h"

#include <fmt/format.h>

#include <optional>
#include <set>

#include "config/words.h"

namespace prentice {

namespace {

// The task a metric belongs to; "" for `accuracy`, which any task but loss has; nullopt when there is no such metric.
std::optional<std::string> task_of_metric(const std::string& metric) {
  if (metric == "loss") return "loss";
  if (metric == "margin") return std::string(kPreferenceTask);
  if (metric == "accuracy") return "";
  for (const auto& choice : kTasks) {
    if (choice.word != "loss" && metric == fmt::format("{}.accuracy", choice.word)) return std::string(choice.word);
  }
  return std::nullopt;
}

// Tells, at `key`, why no task of `tasks` gives `metric`; false where one does.
bool refuse_metric(Checker& c, const std::string& key, const std::string& metric, const std::set<std::string>& tasks) {
  const auto task = task_of_metric(metric);
  const size_t scoring = tasks.size() - tasks.count("loss");
  if (!task) {
    c.mistake(key, "unknown metric " + metric, "metrics: loss, accuracy, choice.accuracy, exact.accuracy, margin");
  } else if (task->empty() ? scoring == 0 : !tasks.contains(*task)) {
    c.mistake(key, fmt::format("{} needs a task that is not run", metric),
              task->empty() ? "add eval.tasks: [choice] or [exact], or [preference] for a reward model"
                            : fmt::format("add eval.tasks: [{}]", *task));
  } else if (task->empty() && scoring > 1) {
    c.mistake(key, "accuracy is not clear: several tasks have one", "write choice.accuracy or exact.accuracy");
  } else {
    return false;
  }
  return true;
}

}  // namespace

void check_eval(Checker& c, const EvalSection& eval, bool training, bool pairs) {
  std::set<std::string> tasks(eval.tasks.begin(), eval.tasks.end());
  const bool prefers = tasks.contains(std::string(kPreferenceTask));
  if (tasks.size() < eval.tasks.size()) c.mistake("eval.tasks", "a task is named twice");
  if (training && !pairs && prefers) {
    c.mistake("eval.tasks", "preference asks a reward model, which this kind does not train", "`recipe: reward` does");
  } else if (!training && prefers && tasks.size() > 1) {
    c.mistake("eval.tasks", "preference asks a reward model, which has no words for another task", "keep one of them");
  }
  if (training || prefers) tasks.insert("loss");  // every evaluation during training has it, and that of pairs
  if (!tasks.contains("choice"))
    c.without_effect({"eval.choices", "eval.normalize"}, "without the task choice", "add eval.tasks: [choice]");
  if (!tasks.contains("exact"))
    c.without_effect({"eval.max_new_tokens"}, "without the task exact", "add eval.tasks: [exact]");
  for (const auto& [metric, bound] : eval.require) {
    if (refuse_metric(c, "eval.require", metric, tasks)) continue;
    if (metric.ends_with("accuracy") && (bound < 0 || bound > 1)) {
      c.mistake("eval.require", fmt::format("expected an accuracy from 0 to 1, got {}", number_text(bound)));
    }
  }
}

void check_compare(Checker& c, const CompareSection& compare, const EvalSection& eval) {
  if (compare.a.empty()) c.mistake("compare.a", "is missing: two artifacts are compared", "compare.a=runs/OLD");
  if (compare.b.empty()) c.mistake("compare.b", "is missing: two artifacts are compared", "compare.b=runs/NEW");
  std::set<std::string> tasks(eval.tasks.begin(), eval.tasks.end());
  if (tasks.contains(std::string(kPreferenceTask))) tasks.insert("loss");
  if (compare.metric != "auto") {
    refuse_metric(c, "compare.metric", compare.metric, tasks);
  } else if (tasks.size() - tasks.count("loss") > 1) {
    c.mistake("compare.metric", "several tasks give an accuracy, and one must decide",
              "write compare.metric=choice.accuracy or exact.accuracy");
  }
}

}  // namespace prentice
