#include "core/random.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace prentice {
namespace {

// Known answers from the Random123 distribution (kat_vectors, philox4x32 10).
TEST(Random, PhiloxGivesThePublishedAnswers) {
  struct Case {
    std::array<uint32_t, 4> counter;
    std::array<uint32_t, 2> key;
    std::array<uint32_t, 4> expected;
  };
  const std::vector<Case> cases = {
      {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
      {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
       {0xffffffff, 0xffffffff},
       {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
      {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
       {0xa4093822, 0x299f31d0},
       {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
  };
  for (const auto& c : cases) EXPECT_EQ(philox4x32(c.counter, c.key), c.expected);
}

// Test vectors of the FNV reference code.
TEST(Random, NamesHashAsFnv1a) {
  EXPECT_EQ(hash_of(""), 0xcbf29ce484222325u);
  EXPECT_EQ(hash_of("a"), 0xaf63dc4c8601ec8cu);
  EXPECT_EQ(hash_of("foobar"), 0x85944171f73967e8u);
}

TEST(Random, NormalPointsHaveTheMomentsOfTheNormalDistribution) {
  constexpr int kPoints = 20000;
  double sum = 0, squares = 0, product = 0;
  for (uint64_t i = 0; i < kPoints; ++i) {
    const double uniform = uniform_from(random_bits(1, 2, 2 * i)), turn = uniform_from(random_bits(1, 2, 2 * i + 1));
    const auto [radius, angle] = normal_point(std::log1p(-uniform), turn);
    const double x = radius * std::cos(angle), y = radius * std::sin(angle);
    sum += x + y, squares += x * x + y * y, product += x * y;
  }
  EXPECT_NEAR(sum / (2 * kPoints), 0, 0.02);
  EXPECT_NEAR(squares / (2 * kPoints), 1, 0.03);
  EXPECT_NEAR(product / kPoints, 0, 0.03);
}

TEST(Random, BitsAreTheFirstTwoWordsOfTheBlock) {
  EXPECT_EQ(random_bits(0, 0, 0), 0xe169c58d6627e8d5u);
  EXPECT_EQ(random_bits(0x299f31d0a4093822, 0x0370734413198a2e, 0x85a308d3243f6a88), 0x94fdccebd16cfe09u);
}

TEST(Random, SeedStreamAndIndexEachChangeTheBits) {
  const uint64_t bits = random_bits(17, 3, 5);
  EXPECT_NE(bits, random_bits(18, 3, 5));
  EXPECT_NE(bits, random_bits(17, 4, 5));
  EXPECT_NE(bits, random_bits(17, 3, 6));
  EXPECT_NE(bits, random_bits(17 + (uint64_t{1} << 32), 3, 5));
}

TEST(Random, UniformCoversTheHalfOpenInterval) {
  EXPECT_EQ(uniform_from(0), 0.0);
  EXPECT_LT(uniform_from(UINT64_MAX), 1.0);
  EXPECT_EQ(uniform_from(uint64_t{1} << 63), 0.5);
}

TEST(Random, BoundedStaysBelowTheBoundAndReachesEveryValue) {
  EXPECT_EQ(bounded_from(UINT64_MAX, 7), 6u);
  EXPECT_EQ(bounded_from(0, 7), 0u);
  std::vector<int> counts(7, 0);
  for (uint64_t i = 0; i < 7000; ++i) ++counts[bounded_from(random_bits(1, 0, i), 7)];
  for (const int count : counts) EXPECT_NEAR(count, 1000, 150);  // five standard deviations
}

}  // namespace
}  // namespace prentice
