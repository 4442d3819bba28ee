#include "eval/report.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace prentice {

namespace {

bool is_loss(const std::string& metric) { return metric == "loss"; }

Json loss_json(const LossResult& loss) {
  Json::Array examples;
  for (const auto& example : loss.examples) {
    examples.push_back(Json::Object{{"index", example.index}, {"tokens", example.tokens}, {"loss", example.loss}});
  }
  return Json::Object{{"mean", loss.mean}, {"tokens", loss.tokens}, {"examples", std::move(examples)}};
}

Json choice_json(const ChoiceResult& choice) {
  Json::Array examples;
  for (const auto& example : choice.examples) {
    Json::Object scores;
    for (const auto& [label, score] : example.scores) scores.emplace_back(label, score);
    examples.push_back(Json::Object{{"index", example.index},
                                    {"answer", example.answer},
                                    {"expected", example.expected},
                                    {"scores", std::move(scores)}});
  }
  return Json::Object{{"accuracy", choice.accuracy}, {"count", choice.count}, {"examples", std::move(examples)}};
}

Json exact_json(const ExactResult& exact) {
  Json::Array examples;
  for (const auto& example : exact.examples) {
    examples.push_back(Json::Object{{"index", example.index},
                                    {"output", example.output},
                                    {"expected", example.expected},
                                    {"correct", example.correct}});
  }
  return Json::Object{{"accuracy", exact.accuracy}, {"count", exact.count}, {"examples", std::move(examples)}};
}

Json preference_json(const PreferenceResult& pairs) {
  Json::Array examples;
  for (const auto& example : pairs.examples) {
    examples.push_back(Json::Object{{"index", example.index}, {"loss", example.loss}, {"margin", example.margin}});
  }
  return Json::Object{{"loss", pairs.loss},
                      {"accuracy", pairs.accuracy},
                      {"margin", pairs.margin},
                      {"count", pairs.count},
                      {"examples", std::move(examples)}};
}

std::string share_line(const char* task, double accuracy, int64_t count) {
  const auto correct = static_cast<int64_t>(std::llround(accuracy * static_cast<double>(count)));
  const auto [low, high] = wilson_interval(correct, count);
  return fmt::format("{:<8} {:.1f} % of {} (95 % interval {:.1f}-{:.1f})", task, 100 * accuracy, count, 100 * low,
                     100 * high);
}

}  // namespace

bool EvalReport::passed() const {
  return std::ranges::all_of(gates, [](const GateResult& gate) { return gate.passed; });
}

std::map<std::string, double> metrics(const EvalReport& report) {
  std::map<std::string, double> values;
  if (report.loss) values["loss"] = report.loss->mean;
  if (report.exact) values["exact.accuracy"] = values["accuracy"] = report.exact->accuracy;
  if (report.choice) values["choice.accuracy"] = values["accuracy"] = report.choice->accuracy;
  if (report.preference) {
    values["loss"] = report.preference->loss;
    values["preference.accuracy"] = values["accuracy"] = report.preference->accuracy;
    values["margin"] = report.preference->margin;
  }
  return values;
}

std::vector<GateResult> check_gates(const EvalReport& report, const std::map<std::string, double>& require) {
  const auto values = metrics(report);
  std::vector<GateResult> gates;
  for (const auto& [metric, bound] : require) {
    const auto found = values.find(metric);
    if (found == values.end()) {
      std::vector<std::string> names;
      for (const auto& [name, value] : values) names.push_back(name);
      fail(ExitCode::usage, fmt::format("eval.require: no task of this evaluation gives '{}'", metric),
           fmt::format("eval.tasks gives {}", fmt::join(names, ", ")));
    }
    const double value = found->second;
    // A value that is not a number passes nothing.
    const bool passed = is_loss(metric) ? value <= bound : value >= bound;
    gates.push_back({metric, bound, value, passed});
  }
  return gates;
}

Json to_json(const EvalReport& report) {
  Json::Array data, gates;
  for (const auto& [path, sha256, rows] : report.data) {
    data.push_back(Json::Object{{"path", path}, {"sha256", sha256}, {"rows", rows}});
  }
  for (const auto& gate : report.gates) {
    gates.push_back(
        Json::Object{{"metric", gate.metric}, {"bound", gate.bound}, {"value", gate.value}, {"passed", gate.passed}});
  }
  Json::Object tasks;
  if (report.loss) tasks.emplace_back("loss", loss_json(*report.loss));
  if (report.choice) tasks.emplace_back("choice", choice_json(*report.choice));
  if (report.exact) tasks.emplace_back("exact", exact_json(*report.exact));
  if (report.preference) tasks.emplace_back("preference", preference_json(*report.preference));
  return Json::Object{{"schema", 1},
                      {"model", report.model},
                      {"data", std::move(data)},
                      {"tasks", std::move(tasks)},
                      {"gates", std::move(gates)}};
}

Interval wilson_interval(int64_t correct, int64_t count) {
  if (count == 0) return {0, 1};
  constexpr double kZ = 1.959963984540054;  // 97.5 % point of the normal distribution
  const double n = static_cast<double>(count), p = static_cast<double>(correct) / n, z2 = kZ * kZ;
  const double centre = p + z2 / (2 * n), half = kZ * std::sqrt(p * (1 - p) / n + z2 / (4 * n * n));
  return {std::max(0.0, (centre - half) / (1 + z2 / n)), std::min(1.0, (centre + half) / (1 + z2 / n))};
}

std::vector<ClassScore> by_class(const ChoiceResult& result) {
  std::map<std::string, ClassScore> classes;
  for (const auto& example : result.examples) {
    ClassScore& score = classes.try_emplace(example.expected, ClassScore{.label = example.expected}).first->second;
    ++score.count;
    score.correct += example.answer == example.expected;
  }
  std::vector<ClassScore> scores;
  for (auto& [label, score] : classes) scores.push_back(std::move(score));
  return scores;
}

std::optional<ClassScore> weakest_class(const ChoiceResult& result) {
  const auto scores = by_class(result);
  const auto weakest = std::ranges::min_element(scores, [](const ClassScore& a, const ClassScore& b) {
    return a.accuracy() != b.accuracy() ? a.accuracy() < b.accuracy() : a.count > b.count;
  });
  return weakest == scores.end() ? std::nullopt : std::optional(*weakest);
}

std::vector<std::string> summary(const EvalReport& report) {
  std::vector<std::string> lines;
  if (report.loss) {
    lines.push_back(
        fmt::format("{:<8} {:.4f} nats a token over {} tokens", "loss", report.loss->mean, report.loss->tokens));
  }
  if (report.choice) {
    lines.push_back(share_line("choice", report.choice->accuracy, report.choice->count));
    const auto weakest = weakest_class(*report.choice);
    if (weakest && weakest->correct < weakest->count) {
      lines.back() += fmt::format("; weakest: {} {:.1f} %", weakest->label, 100 * weakest->accuracy());
    }
  }
  if (report.exact) lines.push_back(share_line("exact", report.exact->accuracy, report.exact->count));
  if (const auto& pairs = report.preference) {
    lines.push_back(fmt::format("{} have a greater reward for the chosen answer; mean margin {:.4f}, loss {:.4f}",
                                share_line("pairs", pairs->accuracy, pairs->count), pairs->margin, pairs->loss));
  }
  for (const auto& gate : report.gates) {
    lines.push_back(fmt::format("gate     {} {} {} (is {:.4f}): {}", gate.metric, is_loss(gate.metric) ? "<=" : ">=",
                                gate.bound, gate.value, gate.passed ? "passed" : "FAILED"));
  }
  return lines;
}

}  // namespace prentice
