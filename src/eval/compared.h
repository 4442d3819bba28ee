// Two evaluations of the same rows side by side: every metric both have, paired row by row.
#pragma once

#include <string>
#include <vector>

#include "eval/paired.h"
#include "eval/report.h"

namespace prentice {

struct ComparedMetric {
  std::string name;  // loss, choice.accuracy, exact.accuracy, preference.accuracy
  bool lower_is_better = false;
  PairedDifference found;
};

// A row that only one of the two has right.
struct TurnedRow {
  int64_t index = 0;
  std::string expected, a, b;
  bool b_is_right = false;
};

struct ComparedReports {
  std::vector<ComparedMetric> metrics;
  std::vector<TurnedRow> turned;  // of choice, else of exact; in order of the rows
  std::vector<std::string> warnings;
};

// Losses weigh a row as many times as it has tokens. Where the two cut the rows into different tokens a loss per token
// says nothing: it is left out with a warning. Errors: `data` when the reports are not of the same rows.
ComparedReports compare_reports(const EvalReport& a, const EvalReport& b, double confidence, uint64_t seed);

// The metric that `name` means: itself, `accuracy` the one accuracy there is, `auto` that or else the loss; nullptr
// when there is none.
const ComparedMetric* find_metric(const ComparedReports&, std::string_view name);

}  // namespace prentice
