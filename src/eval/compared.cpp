#include "eval/compared.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>
#include <utility>

#include "config/kinds.h"
#include "core/batch.h"
#include "core/error.h"

namespace prentice {

namespace {

constexpr std::string_view kAccuracyTasks[] = {"choice", "exact", kPreferenceTask};

bool same_row(const Origin& a, const Origin& b) {
  return std::tie(a.file, a.line, a.record) == std::tie(b.file, b.line, b.record);
}

[[noreturn]] void refuse_row(const char* reader, const Origin& origin, const char* other) {
  fail(ExitCode::data,
       fmt::format("the two read different rows: compare.{} reads {}, which compare.{} leaves out", reader,
                   to_string(origin), other),
       "set data.max_length to what both can read, or data.overlong to what keeps the same rows");
}

// The ids that each of the first rows is scored on.
std::vector<std::vector<int32_t>> scored_ids(const EncodedSet& set, size_t rows) {
  std::vector<std::vector<int32_t>> ids(rows);
  for (const auto& sequence : set.sequences) {
    if (static_cast<size_t>(sequence.sample) >= rows) continue;
    for (size_t i = 0; i < sequence.labels.size(); ++i) {
      const bool counts = sequence.labels[i] != kNoLabel && (sequence.weights.empty() || sequence.weights[i] != 0);
      if (counts) ids[static_cast<size_t>(sequence.sample)].push_back(sequence.labels[i]);
    }
  }
  return ids;
}

// What a task found of one row, as a person reads it.
struct Seen {
  bool right = false;
  std::string expected, answer;
};
Seen seen(const ChoiceResult::Example& row) { return {row.answer == row.expected, row.expected, row.answer}; }
Seen seen(const ExactResult::Example& row) { return {row.correct, row.expected, row.output}; }
Seen seen(const PreferenceResult::Example& row) {
  return {row.margin > 0, "a margin above 0", fmt::format("{:+.4g}", row.margin)};
}

class Comparer {
 public:
  Comparer(const PairedRows& rows, const CompareOptions& options) : rows_(rows), options_(options) {
    result.metric = options.metric;
  }

  template <class Result>
  void shares(const std::string& name, const std::optional<Result>& a, const std::optional<Result>& b) {
    if (!a || !b) return;
    std::vector<bool> of_a, of_b;
    for (size_t i = 0; i < a->examples.size(); ++i) {
      const Seen one = seen(a->examples[i]), other = seen(b->examples[i]);
      of_a.push_back(one.right), of_b.push_back(other.right);
      if (name != options_.metric || one.right == other.right) continue;
      const Origin& origin = rows_.origins.at(static_cast<size_t>(a->examples[i].index));
      result.turned.push_back({origin, one.expected, one.answer, other.answer, other.right});
    }
    result.metrics.push_back({name, false, compare_shares(of_a, of_b, options_.confidence)});
  }

  void losses(const LossResult& a, const LossResult& b) {
    if (!rows_.same_tokens) {
      result.warnings.push_back("loss is not compared: the two cut the rows into different tokens");
      return;
    }
    std::vector<double> weights;
    for (const auto& row : a.examples) weights.push_back(static_cast<double>(row.tokens));
    means(a, b, weights);
  }

  void losses(const PreferenceResult& a, const PreferenceResult& b) {
    means(a, b, std::vector<double>(a.examples.size(), 1.0));
  }

  void warnings(const char* side, const EvalReport& report) {
    for (const auto& warning : report.warnings) result.warnings.push_back(fmt::format("{}: {}", side, warning));
  }

  ComparedReports result;

 private:
  template <class Result>
  void means(const Result& a, const Result& b, const std::vector<double>& weights) {
    std::vector<double> of_a, of_b;
    for (const auto& row : a.examples) of_a.push_back(row.loss);
    for (const auto& row : b.examples) of_b.push_back(row.loss);
    result.metrics.push_back({"loss", true, compare_means(of_a, of_b, weights, options_.confidence, options_.seed)});
  }

  const PairedRows& rows_;
  const CompareOptions& options_;
};

}  // namespace

PairedRows pair_rows(const EncodedSet& a, const EncodedSet& b, int64_t limit) {
  const auto count_of = [&](const EncodedSet& set) {
    return limit > 0 ? std::min(set.origins.size(), static_cast<size_t>(limit)) : set.origins.size();
  };
  const size_t of_a = count_of(a), of_b = count_of(b);
  for (size_t i = 0; i < std::max(of_a, of_b); ++i) {
    if (i < of_a && i < of_b && same_row(a.origins[i], b.origins[i])) continue;
    const auto is_it = [&](const Origin& origin) { return same_row(origin, a.origins[i]); };
    if (i >= of_b || (i < of_a && std::ranges::none_of(b.origins, is_it))) refuse_row("a", a.origins[i], "b");
    refuse_row("b", b.origins[i], "a");  // both are in the order of the files
  }
  return {{a.origins.begin(), a.origins.begin() + static_cast<std::ptrdiff_t>(of_a)},
          scored_ids(a, of_a) == scored_ids(b, of_b)};
}

std::string deciding_metric(std::string_view asked, const std::vector<std::string>& tasks, const PairedRows& rows) {
  std::string metric(asked);
  if (asked == "auto" || asked == "accuracy") {
    const auto task = std::ranges::find_first_of(kAccuracyTasks, tasks);
    metric = task == std::end(kAccuracyTasks) ? "loss" : fmt::format("{}.accuracy", *task);
  }
  const bool of_pairs = std::ranges::find(tasks, kPreferenceTask) != tasks.end();  // a loss a pair, not a token
  if (metric == "loss" && !of_pairs && !rows.same_tokens) {
    fail(ExitCode::data, "loss cannot be compared: the two cut the rows into different tokens",
         "compare an accuracy: eval.tasks=[choice] or [exact]");
  }
  return metric;
}

const ComparedMetric& ComparedReports::decisive() const {
  return *std::ranges::find(metrics, metric, &ComparedMetric::name);
}

ComparedReports compare_reports(const EvalReport& a, const EvalReport& b, const PairedRows& rows,
                                const CompareOptions& options) {
  Comparer comparer(rows, options);
  comparer.warnings("a", a);
  comparer.warnings("b", b);
  comparer.shares("choice.accuracy", a.choice, b.choice);
  comparer.shares("exact.accuracy", a.exact, b.exact);
  comparer.shares("preference.accuracy", a.preference, b.preference);
  if (a.loss && b.loss) comparer.losses(*a.loss, *b.loss);
  if (a.preference && b.preference) comparer.losses(*a.preference, *b.preference);
  return std::move(comparer.result);
}

}  // namespace prentice
