#include "eval/compared.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"

namespace prentice {

namespace {

template <class Result>
void require_same_rows(const Result& a, const Result& b) {
  const bool same = std::ranges::equal(a.examples, b.examples, {}, &Result::Example::index, &Result::Example::index);
  if (same) return;
  fail(ExitCode::data,
       fmt::format("the two read different rows: {} and {} are left", a.examples.size(), b.examples.size()),
       "set data.max_length to what both can read, or data.overlong to what keeps the same rows");
}

bool is_right(const ChoiceResult::Example& row) { return row.answer == row.expected; }
bool is_right(const ExactResult::Example& row) { return row.correct; }
bool is_right(const PreferenceResult::Example& row) { return row.margin > 0; }
const std::string& answer_of(const ChoiceResult::Example& row) { return row.answer; }
const std::string& answer_of(const ExactResult::Example& row) { return row.output; }

template <class Result>
std::vector<bool> rights_of(const Result& result) {
  std::vector<bool> rights;
  for (const auto& row : result.examples) rights.push_back(is_right(row));
  return rights;
}

class Comparer {
 public:
  Comparer(double confidence, uint64_t seed) : confidence_(confidence), seed_(seed) {}

  template <class Result>
  void shares(const char* name, const std::optional<Result>& a, const std::optional<Result>& b) {
    if (!a || !b) return;
    require_same_rows(*a, *b);
    result.metrics.push_back({name, false, compare_shares(rights_of(*a), rights_of(*b), confidence_)});
  }

  template <class Result>
  void turned(const std::optional<Result>& a, const std::optional<Result>& b) {
    if (!a || !b || !result.turned.empty()) return;
    for (size_t i = 0; i < a->examples.size(); ++i) {
      const auto &one = a->examples[i], &other = b->examples[i];
      if (is_right(one) == is_right(other)) continue;
      result.turned.push_back({one.index, one.expected, answer_of(one), answer_of(other), is_right(other)});
    }
  }

  void losses(const LossResult& a, const LossResult& b) {
    require_same_rows(a, b);
    if (!std::ranges::equal(a.examples, b.examples, {}, &LossResult::Example::tokens, &LossResult::Example::tokens)) {
      result.warnings.push_back("loss is not compared: the two cut the rows into different tokens");
      return;
    }
    std::vector<double> weights;
    for (const auto& row : a.examples) weights.push_back(static_cast<double>(row.tokens));
    means(a, b, weights);
  }

  void losses(const PreferenceResult& a, const PreferenceResult& b) {
    require_same_rows(a, b);
    means(a, b, std::vector<double>(a.examples.size(), 1.0));
  }

  ComparedReports result;

 private:
  template <class Result>
  void means(const Result& a, const Result& b, const std::vector<double>& weights) {
    std::vector<double> of_a, of_b;
    for (const auto& row : a.examples) of_a.push_back(row.loss);
    for (const auto& row : b.examples) of_b.push_back(row.loss);
    result.metrics.push_back({"loss", true, compare_means(of_a, of_b, weights, confidence_, seed_)});
  }

  double confidence_;
  uint64_t seed_;
};

}  // namespace

ComparedReports compare_reports(const EvalReport& a, const EvalReport& b, double confidence, uint64_t seed) {
  Comparer comparer(confidence, seed);
  comparer.shares("choice.accuracy", a.choice, b.choice);
  comparer.shares("exact.accuracy", a.exact, b.exact);
  comparer.shares("preference.accuracy", a.preference, b.preference);
  if (a.loss && b.loss) comparer.losses(*a.loss, *b.loss);
  if (a.preference && b.preference) comparer.losses(*a.preference, *b.preference);
  comparer.turned(a.choice, b.choice);
  comparer.turned(a.exact, b.exact);
  return std::move(comparer.result);
}

const ComparedMetric* find_metric(const ComparedReports& comparison, std::string_view name) {
  const auto is_it = [&](const ComparedMetric& metric) {
    return metric.name == name || ((name == "accuracy" || name == "auto") && metric.name != "loss");
  };
  auto found = std::ranges::find_if(comparison.metrics, is_it);
  if (found == comparison.metrics.end() && name == "auto") {
    found = std::ranges::find(comparison.metrics, "loss", &ComparedMetric::name);
  }
  return found == comparison.metrics.end() ? nullptr : &*found;
}

}  // namespace prentice
