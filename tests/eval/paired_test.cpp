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
