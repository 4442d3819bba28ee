// Are two models that scored the same examples apart? Paired differences, their confidence interval and what they
// decide. Separate from scoring: all of it is arithmetic on two lists of equal length.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace prentice {

struct PairedDifference {
  double a = 0, b = 0;       // the metric of each
  double difference = 0;     // b - a
  double low = 0, high = 0;  // confidence interval of the difference; infinite where one example has none
  double p_value = 1;        // two-sided, of no difference
  int64_t count = 0;         // examples
  int64_t fewest = 0;        // below so many, nothing is decided
  bool same = false;         // no example parts the two by a bit
};

// Correct or not, example by example. The interval is Agresti and Min's (2005, "Simple improved confidence intervals
// for comparing matched proportions"): Wald's with half an example added to each cell of the 2 x 2 table, which has its
// coverage from a few examples on and does not shrink to nothing where the two never part. The p-value is McNemar's
// exact one: binomial on the examples that only one has right.
PairedDifference compare_shares(const std::vector<bool>& a, const std::vector<bool>& b, double confidence);

// Means over all tokens of examples that weigh what their tokens do: mean = sum(value * weight) / sum(weight). Paired
// bootstrap over examples (Efron and Tibshirani 1993, ch. 13). The interval's ends are the percentiles, moved away from
// the difference by t / z * sqrt(n / (n - 1)) (Hesterberg 2015, "What teachers should know about the bootstrap", 5.3):
// resamples of n examples spread as one over n, not n - 1, and know nothing of how uncertain that spread is. One
// example has no interval. The p-value is one minus the confidence whose interval ends at zero, and not below what so
// many resamples can tell. A function of its arguments alone.
inline constexpr int kResamples = 10000;
// What no widening mends is that few examples may all be of one kind. That all of n differences have one sign happens
// by chance in 2^(1 - n) of all cases, whatever they are distributed as (the sign test): this must be below what the
// confidence allows, and at least 8 examples, below 1 %, are asked for in any case.
int64_t fewest_examples(double confidence);
PairedDifference compare_means(std::span<const double> a, std::span<const double> b, std::span<const double> weights,
                               double confidence, uint64_t seed);

enum class Verdict { better, equal, worse, undecided };
std::string_view verdict_name(Verdict);

// Of b against a: better when the whole interval is on the good side of zero; equal when it ends above minus the
// margin; worse when all of it lies below minus the margin; else the examples are too few to tell, and below `fewest`
// they always are. But `same_outputs` says that the two gave the same bits wherever one looked: such two, the same in
// each example, are equal however few these are.
struct Decision {
  Verdict verdict = Verdict::undecided;
  // Examples with which an interval that shrinks as one over the square root of their number would decide, not below
  // `fewest`; nullopt where it is decided, or where the difference is the margin itself.
  std::optional<int64_t> rows_needed;
  bool passed() const { return verdict == Verdict::better || verdict == Verdict::equal; }
};
Decision decide(const PairedDifference&, bool lower_is_better, double margin, bool same_outputs = false);

}  // namespace prentice
