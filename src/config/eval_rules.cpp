#include "config/eval_rules.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <ranges>
#include <set>
#include <utility>
#include <vector>

#include "config/words.h"

namespace prentice {

namespace {

// Every metric and the task that gives it; "" for `accuracy`, which any task but loss does.
std::vector<std::pair<std::string, std::string>> metrics_and_tasks() {
  std::vector<std::pair<std::string, std::string>> all = {{"loss", "loss"}, {"accuracy", ""}};
  for (const auto& [task, later] : kTasks) {
    if (task != "loss" && !later) all.emplace_back(fmt::format("{}.accuracy", task), task);
  }
  all.emplace_back("margin", kPreferenceTask);
  return all;
}

// Tells, at `key`, why no task of `tasks` gives `metric`; false where one does.
bool refuse_metric(Checker& c, const std::string& key, const std::string& metric, const std::set<std::string>& tasks) {
  const auto known = metrics_and_tasks();
  const auto found = std::ranges::find(known, metric, &decltype(known)::value_type::first);
  const size_t scoring = tasks.size() - tasks.count("loss");
  if (found == known.end()) {
    c.mistake(key, "unknown metric " + metric, fmt::format("metrics: {}", fmt::join(std::views::keys(known), ", ")));
    return true;
  }
  const std::string& task = found->second;
  if (task.empty() ? scoring == 0 : !tasks.contains(task)) {
    c.mistake(key, fmt::format("{} needs a task that is not run", metric),
              task.empty() ? "add eval.tasks: [choice] or [exact], or [preference] for a reward model"
                           : fmt::format("add eval.tasks: [{}]", task));
  } else if (task.empty() && scoring > 1) {
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
