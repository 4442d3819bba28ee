// Two evaluations of the same rows side by side: every metric both have, paired row by row.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "config/schema.h"
#include "data/sequence.h"
#include "eval/paired.h"
#include "eval/report.h"

namespace prentice {

// The rows that two models read. Known before either scores.
struct PairedRows {
  std::vector<Origin> origins;  // by the index of an example
  bool same_tokens = true;      // each row is scored on the same ids, so that a loss a token can be compared
};

// Of the first `limit` rows, 0 = all. Errors: `data`, naming a row that only one of the two reads.
PairedRows pair_rows(const EncodedSet& a, const EncodedSet& b, int64_t limit);

// The metric that compare.metric means: itself, `accuracy` the one that a task of eval.tasks gives, `auto` that or else
// the loss. Errors: `data` for a loss of rows in different tokens.
std::string deciding_metric(std::string_view asked, const std::vector<std::string>& tasks, const PairedRows&);

struct ComparedMetric {
  std::string name;  // loss, choice.accuracy, exact.accuracy, preference.accuracy
  bool lower_is_better = false;
  PairedDifference found;
};

// A row that only one of the two has right.
struct TurnedRow {
  Origin origin;
  std::string expected, a, b;
  bool b_is_right = false;
};

struct ComparedReports {
  std::vector<ComparedMetric> metrics;
  std::string metric;             // that decides
  std::vector<TurnedRow> turned;  // of that metric, in order of the rows; a loss has none
  std::vector<std::string> warnings;

  const ComparedMetric& decisive() const;
};

struct CompareOptions {
  std::string metric;  // deciding_metric's
  double confidence = 0.95;
  uint64_t seed = 0;
};

// Losses weigh a row as many times as it has tokens; those of rows in different tokens are left out with a warning.
// What the reports warn of comes along, with the side it is of.
ComparedReports compare_reports(const EvalReport& a, const EvalReport& b, const PairedRows&, const CompareOptions&);

}  // namespace prentice
