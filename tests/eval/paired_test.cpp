// Paired statistics against published figures and against what independent programs found.
#include "eval/paired.h"

#include <gtest/gtest.h>

#include <cmath>
#include <utility>

namespace prentice {
namespace {

struct Shares {
  std::vector<bool> a, b;
};

// Counts of the 2 x 2 table.
Shares table(int both, int only_a, int only_b, int neither) {
  Shares rows;
  for (const auto& [count, a, b] :
       {std::tuple{both, true, true}, {only_a, true, false}, {only_b, false, true}, {neither, false, false}}) {
    rows.a.insert(rows.a.end(), count, a);
    rows.b.insert(rows.b.end(), count, b);
  }
  return rows;
}

TEST(Paired, SharesHaveMcNemarsPAndAgrestiAndMinsInterval) {
  // Approval of a prime minister in two surveys of 1600 (Agresti, Categorical Data Analysis, table 10.1): 794 approve
  // twice, 150 only first, 86 only then. The difference is -0.04, Wald's interval -0.0587 to -0.0213.
  const Shares survey = table(794, 150, 86, 570);
  const auto found = compare_shares(survey.a, survey.b, 0.95);
  EXPECT_NEAR(found.a, 944.0 / 1600, 1e-12);
  EXPECT_NEAR(found.b, 880.0 / 1600, 1e-12);
  EXPECT_NEAR(found.difference, -0.04, 1e-12);
  EXPECT_NEAR(found.low, -0.0587, 1e-4);
  EXPECT_NEAR(found.high, -0.0212, 1e-4);
  // Both sides of the binomial: 2 * sum of C(236, k) for k up to 86, over 2^236, in whole numbers.
  EXPECT_NEAR(found.p_value, 3.715936139571e-5, 1e-14);
  // 2 of 12, and 0 of 5: 2 * 79 / 4096 and 2 / 32.
  const Shares small = table(10, 10, 2, 3), one_sided = table(0, 0, 5, 0);
  EXPECT_NEAR(compare_shares(small.a, small.b, 0.95).p_value, 158.0 / 4096, 1e-12);
  EXPECT_NEAR(compare_shares(one_sided.a, one_sided.b, 0.95).p_value, 2.0 / 32, 1e-12);
}

TEST(Paired, TwoModelsThatNeverPartOnTenRowsAreNotProvenEqual) {
  const Shares few = table(9, 0, 0, 1), many = table(9000, 0, 0, 1000);
  const auto of_few = compare_shares(few.a, few.b, 0.95);
  EXPECT_EQ(of_few.p_value, 1);
  // One half in each of two cells of 12: 1.96 * sqrt(1) / 12.
  EXPECT_NEAR(of_few.high, 1.959964 / 12, 1e-6);
  EXPECT_EQ(decide(of_few, false, 0.01).verdict, Verdict::undecided);
  EXPECT_EQ(decide(compare_shares(many.a, many.b, 0.95), false, 0.01).verdict, Verdict::equal);
}

// Differences of known mean and spread, on tokens of one weight.
PairedDifference of_normal(int count, double mean, double spread) {
  std::vector<double> a(count, 2.0), b(count), weights(count, 7.0);
  for (int i = 0; i < count; ++i) b[i] = 2.0 + mean + spread * std::sqrt(2.0) * std::sin(2 * M_PI * (i + 0.5) / count);
  return compare_means(a, b, weights, 0.95, 17);
}

TEST(Paired, TheBootstrapsIntervalIsTheNormalOneOfManyRows) {
  const int count = 400;
  const double half = 1.959964 * 0.3 / std::sqrt(count);
  const auto found = of_normal(count, -0.05, 0.3);
  EXPECT_NEAR(found.difference, -0.05, 1e-9);
  EXPECT_NEAR(found.low, -0.05 - half, 0.06 * half);
  EXPECT_NEAR(found.high, -0.05 + half, 0.06 * half);
  EXPECT_NEAR(found.p_value, std::erfc(0.05 / (0.3 / std::sqrt(count)) / std::sqrt(2.0)), 3e-4);
  const auto again = of_normal(count, -0.05, 0.3);
  EXPECT_EQ(found.low, again.low);
  EXPECT_EQ(found.p_value, again.p_value);
}

TEST(Paired, MeansWeighRowsByTheirTokens) {
  const auto found = compare_means(std::vector{1.0, 4.0}, std::vector{2.0, 4.0}, std::vector{3.0, 1.0}, 0.95, 1);
  EXPECT_DOUBLE_EQ(found.a, 1.75);
  EXPECT_DOUBLE_EQ(found.b, 2.5);
  EXPECT_DOUBLE_EQ(found.difference, 0.75);
  // Every other row of 100 is one apart, and holds a tenth of the tokens.
  std::vector<double> a(100, 1.0), b(100, 1.0), weights(100, 9.0);
  for (size_t i = 0; i < 100; i += 2) b[i] = 2.0, weights[i] = 1.0;
  const auto many = compare_means(a, b, weights, 0.95, 1);
  EXPECT_NEAR(many.difference, 0.1, 1e-12);
  EXPECT_LT(many.low, 0.1);
  EXPECT_GT(many.low, 0.05);
  EXPECT_GT(many.high, 0.1);
  EXPECT_LT(many.high, 0.2);
}

// Differences of rows of one weight.
PairedDifference of_rows(const std::vector<double>& differences, double confidence = 0.95) {
  std::vector<double> a(differences.size(), 2.0), b = a, weights(differences.size(), 3.0);
  for (size_t i = 0; i < b.size(); ++i) b[i] += differences[i];
  return compare_means(a, b, weights, confidence, 5);
}

TEST(Paired, OneRowHasNoIntervalAndDecidesNothing) {
  const auto found = of_rows({-0.0006});
  EXPECT_DOUBLE_EQ(found.a, 2);
  EXPECT_FALSE(std::isfinite(found.low) || std::isfinite(found.high));
  EXPECT_EQ(found.p_value, 1);
  for (const double margin : {0.01, 99.0}) {
    const auto decision = decide(found, true, margin);
    EXPECT_EQ(decision.verdict, Verdict::undecided);
    EXPECT_EQ(decision.rows_needed, 8);
  }
}

// Quantiles of Student's t at 0.975, from tables: 12.7062 of one degree of freedom, 2.77645 of 4, 2.04523 of 29.
TEST(Paired, TheIntervalOfFewRowsIsAsWideAsStudents) {
  // A resample of two rows is either twice one of them in half of all cases: the percentiles are the rows themselves.
  const auto two = of_rows({0.1, 0.3});
  const double beyond = 0.1 * 12.7062 / 1.959964 * std::sqrt(2.0);
  EXPECT_NEAR(two.low, 0.2 - beyond, 1e-5);
  EXPECT_NEAR(two.high, 0.2 + beyond, 1e-5);
  EXPECT_GT(two.p_value, 0.05);
  // s = sqrt(2.5); the resamples of five rows are few, and coarse.
  const auto five = of_rows({-1.5, -0.5, 0.5, 1.5, 2.5});
  const double half = 2.77645 * std::sqrt(2.5 / 5);
  EXPECT_NEAR(five.low, 0.5 - half, 0.08 * half);
  EXPECT_NEAR(five.high, 0.5 + half, 0.08 * half);
  // The spread of `of_normal` is over n.
  const auto thirty = of_normal(30, -0.05, 0.3);
  const double of_thirty = 2.04523 * 0.3 / std::sqrt(29.0);
  EXPECT_NEAR(thirty.low, -0.05 - of_thirty, 0.03 * of_thirty);
  EXPECT_NEAR(thirty.high, -0.05 + of_thirty, 0.03 * of_thirty);
}

TEST(Paired, ThePValueIsBelowWhatTheIntervalsConfidenceLeavesWhereItExcludesZero) {
  for (const int count : {3, 8, 9, 40}) {
    for (int step = 0; step < 60; ++step) {
      const double mean = -0.3 + 0.01 * step;
      const auto found = of_normal(count, mean, 0.2);
      EXPECT_EQ(found.p_value<0.05, found.low> 0 || found.high < 0) << count << " rows, " << mean;
    }
  }
  // t = 0.3 / (0.2 / sqrt(19)) = 6.5 of 19 degrees, far beyond the 3.88 of one in 1000: no resample tells how far.
  EXPECT_NEAR(of_normal(20, 0.3, 0.2).p_value, 2.0 / (kResamples + 1), 1e-6);
  EXPECT_GT(of_normal(20, 0, 0.2).p_value, 0.98);
}

TEST(Paired, NoIntervalOfTooFewRowsDecides) {
  EXPECT_EQ(fewest_examples(0.5), 8);
  EXPECT_EQ(fewest_examples(0.95), 8);
  EXPECT_EQ(fewest_examples(0.99), 8);    // 2^-7 = 0.0078
  EXPECT_EQ(fewest_examples(0.999), 11);  // 2^-10 = 0.00098, and 2^-9 = 0.002
  for (const int count : {2, 7, 8, 40}) {
    for (const double mean : {-0.5, 0.001, 0.5}) {
      const auto found = of_normal(count, mean, 0.002);
      const auto decision = decide(found, true, 0.01);
      if (count >= 8) {
        EXPECT_EQ(decision.verdict, mean < 0 ? Verdict::better : mean > 0.01 ? Verdict::worse : Verdict::equal);
        continue;
      }
      EXPECT_EQ(decision.verdict, Verdict::undecided) << count;
      EXPECT_GE(decision.rows_needed, 8);
    }
  }
  // Far apart and all over the place: the rows that the width asks for, not the fewest.
  const auto decision = decide(of_normal(5, 0.02, 2), true, 0.01);
  EXPECT_EQ(decision.verdict, Verdict::undecided);
  EXPECT_GT(decision.rows_needed, 100000);
}

TEST(Paired, TwoThatAreTheSameInEachOfFewRowsAreEqualWhereTheirOutputsAreTheSameBits) {
  for (const int count : {1, 2, 7}) {
    const auto found = of_rows(std::vector<double>(count, 0.0));
    EXPECT_TRUE(found.same);
    EXPECT_EQ(found.low, 0);
    EXPECT_EQ(found.high, 0);
    EXPECT_EQ(found.p_value, 1);
    EXPECT_EQ(decide(found, true, 0.01).verdict, Verdict::undecided);
    EXPECT_EQ(decide(found, true, 0.01).rows_needed, 8);
    EXPECT_EQ(decide(found, true, 0.01, true).verdict, Verdict::equal);
  }
  EXPECT_EQ(decide(of_rows(std::vector<double>(8, 0.0)), true, 0.01).verdict, Verdict::equal);
  // The same at the positions that one looked at, and apart in a row behind them.
  const auto apart = of_rows({0, 0, 1e-9});
  EXPECT_FALSE(apart.same);
  EXPECT_EQ(decide(apart, true, 0.01, true).verdict, Verdict::undecided);
}

TEST(Paired, DecisionsFollowTheIntervalAndTheMargin) {
  struct Case {
    double low, high;
    Verdict verdict;
  };
  // Of an accuracy; margin 0.02.
  for (const auto& [low, high, verdict] : {Case{0.001, 0.2, Verdict::better},
                                           {-0.01, 0.1, Verdict::equal},
                                           {-0.015, -0.005, Verdict::equal},
                                           {-0.1, -0.03, Verdict::worse},
                                           {-0.1, 0.1, Verdict::undecided},
                                           {-0.02, 0.1, Verdict::undecided}}) {
    const PairedDifference share{.difference = (low + high) / 2, .low = low, .high = high, .count = 100};
    EXPECT_EQ(decide(share, false, 0.02).verdict, verdict) << low << " " << high;
    const PairedDifference loss{.difference = -(low + high) / 2, .low = -high, .high = -low, .count = 100};
    EXPECT_EQ(decide(loss, true, 0.02).verdict, verdict) << low << " " << high;
  }
}

TEST(Paired, RowsNeededAreThoseWhoseIntervalWouldDecide) {
  // Half a width of 0.1 at 100 rows; 0.01 above the end that counts needs a tenth of the width: 100 times the rows.
  const PairedDifference near{.difference = 0.0, .low = -0.1, .high = 0.1, .count = 100};
  const auto decision = decide(near, false, 0.01);
  EXPECT_EQ(decision.verdict, Verdict::undecided);
  EXPECT_EQ(decision.rows_needed, 10000);
  const PairedDifference worse{.difference = -0.06, .low = -0.16, .high = 0.04, .count = 100};
  EXPECT_EQ(decide(worse, false, 0.01).rows_needed, 400);  // 0.1 of width must become 0.05
  const PairedDifference at_the_margin{.difference = -0.01, .low = -0.1, .high = 0.1, .count = 100};
  EXPECT_EQ(decide(at_the_margin, false, 0.01).rows_needed, std::nullopt);
}

}  // namespace
}  // namespace prentice
