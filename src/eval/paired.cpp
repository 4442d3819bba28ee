#include "eval/paired.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <tuple>
#include <utility>
#include <vector>

#include "core/random.h"

namespace prentice {

namespace {

constexpr uint64_t kResampleStream = 0x7061697265643a62;  // "paired:b"

// Where `distribution` reaches the share, by bisection: exact to rounding, and asked for a few times.
template <class Distribution>
double quantile(double share, double low, double high, Distribution&& distribution) {
  for (int i = 0; i < 100; ++i) {
    const double middle = (low + high) / 2;
    (distribution(middle) < share ? low : high) = middle;
  }
  return (low + high) / 2;
}

double normal_quantile(double share) {
  return quantile(share, -40, 40, [](double x) { return 0.5 * std::erfc(-x / std::sqrt(2.0)); });
}

// Student's, of a whole number of degrees of freedom (Abramowitz and Stegun 26.7.3 and 26.7.4), by the angle whose
// tangent is t / sqrt(degrees): of one degree t has no bound that could be searched below.
double student_quantile(double share, int64_t degrees) {
  const auto distribution = [&](double angle) {
    const double cosine = std::cos(angle);
    const bool odd = degrees % 2 != 0;
    double term = odd ? cosine : 1, sum = degrees == 1 ? 0 : term;
    for (int64_t k = odd ? 3 : 2; k < degrees; k += 2) {
      term *= cosine * cosine * static_cast<double>(k - 1) / static_cast<double>(k);
      sum += term;
    }
    const double part = std::sin(angle) * sum;
    return 0.5 + (odd ? (angle + part) / M_PI : part / 2);
  };
  return std::tan(quantile(share, -M_PI / 2, M_PI / 2, distribution)) * std::sqrt(static_cast<double>(degrees));
}

constexpr int64_t kManyDegrees = 2000;  // t is z to 1 in 500, closer than resamples tell

// How far beyond the percentiles of resamples of `count` examples an interval ends.
double widening(double confidence, int64_t count) {
  const auto n = static_cast<double>(count);
  const double share = 0.5 + confidence / 2;
  const double t_over_z = count > kManyDegrees ? 1 : student_quantile(share, count - 1) / normal_quantile(share);
  return t_over_z * std::sqrt(n / (n - 1));
}

// P(X <= k) for X ~ Binomial(n, 1/2), by logarithms: n is as large as a data set.
double binomial_half_tail(int64_t k, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i <= k; ++i) {
    const auto at = static_cast<double>(i), all = static_cast<double>(n);
    sum += std::exp(std::lgamma(all + 1) - std::lgamma(at + 1) - std::lgamma(all - at + 1) - all * std::log(2.0));
  }
  return sum;
}

struct Sums {
  double a = 0, b = 0, weight = 0;
  double difference() const { return weight > 0 ? (b - a) / weight : 0; }
};

// Linear between the order statistics, as numpy has it.
double percentile(const std::vector<double>& sorted, double share) {
  const double place = share * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(place);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (place - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

}  // namespace

PairedDifference compare_shares(const std::vector<bool>& a, const std::vector<bool>& b, double confidence) {
  assert(a.size() == b.size());
  const auto n = static_cast<double>(a.size());
  int64_t only_a = 0, only_b = 0, right_a = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    only_a += a[i] && !b[i];
    only_b += b[i] && !a[i];
    right_a += a[i];
  }
  PairedDifference found{.count = static_cast<int64_t>(a.size())};
  if (a.empty()) return found;
  found.a = static_cast<double>(right_a) / n;
  found.b = static_cast<double>(right_a - only_a + only_b) / n;
  found.difference = static_cast<double>(only_b - only_a) / n;
  const double more_a = static_cast<double>(only_a) + 0.5, more_b = static_cast<double>(only_b) + 0.5, all = n + 2;
  const double middle = (more_b - more_a) / all;
  const double half = normal_quantile(0.5 + confidence / 2) *
                      std::sqrt((more_a + more_b) - (more_b - more_a) * (more_b - more_a) / all) / all;
  found.low = std::max(-1.0, middle - half);
  found.high = std::min(1.0, middle + half);
  found.p_value = std::min(1.0, 2 * binomial_half_tail(std::min(only_a, only_b), only_a + only_b));
  return found;
}

PairedDifference compare_means(std::span<const double> a, std::span<const double> b, std::span<const double> weights,
                               double confidence, uint64_t seed) {
  assert(a.size() == b.size() && a.size() == weights.size());
  PairedDifference found{.count = static_cast<int64_t>(a.size())};
  if (a.empty()) return found;
  Sums all;
  for (size_t i = 0; i < a.size(); ++i)
    all.a += a[i] * weights[i], all.b += b[i] * weights[i], all.weight += weights[i];
  found.a = all.a / all.weight;
  found.b = all.b / all.weight;
  found.difference = all.difference();
  found.fewest = fewest_examples(confidence);
  found.same = std::ranges::equal(a, b);
  if (found.same) return found;  // and so is every resample
  if (a.size() == 1) {
    found.low = -INFINITY, found.high = INFINITY;
    return found;
  }
  std::vector<double> resamples(kResamples);
  for (size_t r = 0; r < resamples.size(); ++r) {
    Sums sums;
    for (size_t i = 0; i < a.size(); ++i) {
      const size_t k = bounded_from(random_bits(seed, kResampleStream, r * a.size() + i), a.size());
      sums.a += a[k] * weights[k], sums.b += b[k] * weights[k], sums.weight += weights[k];
    }
    resamples[r] = sums.difference();
  }
  std::ranges::sort(resamples);
  const auto interval = [&](double at) {
    const double wider = widening(at, found.count);
    const auto end = [&](double share) {
      return found.difference + wider * (percentile(resamples, share) - found.difference);
    };
    return std::pair(end((1 - at) / 2), end((1 + at) / 2));
  };
  std::tie(found.low, found.high) = interval(confidence);
  double inside = 2.0 / (kResamples + 1);
  for (int i = 0; i < 30; ++i) {  // closer to confidence 0, t over z is rounding
    const double p = (inside + found.p_value) / 2;
    const auto [low, high] = interval(1 - p);
    (low <= 0 && high >= 0 ? inside : found.p_value) = p;
  }
  return found;
}

std::string_view verdict_name(Verdict verdict) {
  constexpr std::array<std::string_view, 4> kNames = {"better", "equal", "worse", "undecided"};
  return kNames.at(static_cast<size_t>(verdict));
}

int64_t fewest_examples(double confidence) {
  return std::max(int64_t{8}, static_cast<int64_t>(std::ceil(1 - std::log2(1 - confidence) - 1e-9)));
}

Decision decide(const PairedDifference& found, bool lower_is_better, double margin, bool same_outputs) {
  const double gain = lower_is_better ? -found.difference : found.difference;
  const double low = lower_is_better ? -found.high : found.low, high = lower_is_better ? -found.low : found.high;
  const bool few = found.count < found.fewest && !(found.same && same_outputs);
  const bool tells = low > -margin || high < -margin;
  if (few && (tells || !std::isfinite(low))) return {Verdict::undecided, found.fewest};
  if (low > 0) return {Verdict::better, std::nullopt};
  if (low > -margin) return {Verdict::equal, std::nullopt};
  if (high < -margin) return {Verdict::worse, std::nullopt};
  // The end of the interval that is in the way, and how far it must come.
  const double reach = gain > -margin ? gain - low : high - gain, room = std::abs(gain + margin);
  const double factor = room > 0 ? reach / room * (reach / room) : INFINITY;
  const double rows = std::ceil(static_cast<double>(found.count) * factor * (1 - 1e-12));
  if (!(rows < 1e15)) return {Verdict::undecided, std::nullopt};
  return {Verdict::undecided, std::max({found.count + 1, found.fewest, static_cast<int64_t>(rows)})};
}

}  // namespace prentice
