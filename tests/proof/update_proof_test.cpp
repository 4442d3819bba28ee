#include "proof/update_proof.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace prentice {
namespace {

// `pair`, so many times: shares stay what they are, and deviations fall with the root of that.
std::vector<float> times(size_t count, std::vector<float> pair) {
  std::vector<float> all;
  for (size_t i = 0; i < count; ++i) all.insert(all.end(), pair.begin(), pair.end());
  return all;
}

Check checked(size_t count, const std::vector<float>& trained, const std::vector<float>& base,
              const std::vector<float>& found, const std::vector<float>& rounded) {
  UpdateProof proof;
  proof.add("w", times(count, trained), times(count, base), times(count, found), times(count, rounded));
  const auto checks = proof.checks();
  EXPECT_EQ(checks.size(), 1u);
  return checks.front();
}

// W + D = (1, 1) and W = (0, 2): U = (1, -1) has no part along W + D, so that D = U and <D, D> = 2 a pair.
// Q(W + D) = W + D where nothing else is said.
TEST(UpdateProof, TheShareIsThatOfTheFormula) {
  const struct {
    const char* what;
    std::vector<float> found, rounded;
    double share, deviation;  // of 5,000 pairs
  } cases[] = {
      {"the trained weights", {1, 1}, {1, 1}, 1, 0},
      {"with the type's rounding, whatever that is", {1.5, 1.25}, {1.5, 1.25}, 1, 0},
      // F - Q = -D: sqrt(2 a pair) / 2 a pair = sqrt(10,000) / 10,000.
      {"the base", {0, 2}, {1, 1}, 0, 0.01},
      // F = W + E with E = (1, 1), <E, D> = 0: F - Q = (0, 2).
      {"another adapter", {1, 3}, {1, 1}, 0, std::sqrt(5000 * 4) / 10000},
      {"half of it", {0.5, 1.5}, {1, 1}, 0.5, 0.005},
      {"nine tenths of it", {0.9F, 1.1F}, {1, 1}, 0.9, 0.001},
      {"too much of it", {1.5, 0.5}, {1, 1}, 1.5, 0.005},
      // F - Q = (0.5, 0.5) has nothing to do with D.
      {"another writer's rounding", {1.5, 1.5}, {1, 1}, 1, 0.005},
  };
  for (const auto& [what, found, rounded, share, deviation] : cases) {
    const Check check = checked(5000, {1, 1}, {0, 2}, found, rounded);
    EXPECT_NEAR(check.value, std::abs(1 - share), 1e-6) << what;
    EXPECT_NEAR(check.limit, std::max(0.2, 5 * deviation), 1e-6) << what;
    EXPECT_EQ(check.passed, std::abs(1 - share) < 0.2) << what << ": " << check.detail;
  }
}

// W + D = (3, 1) and W = (1, 1): U = (2, 0), less 0.6 (W + D), is D = (0.2, -0.6); <D, D> = 0.4.
TEST(UpdateProof, WhatOnlyMakesTheWeightsLargerIsNoUpdate) {
  EXPECT_NEAR(checked(5000, {3, 1}, {1, 1}, {3, 1}, {3, 1}).value, 0, 1e-6);
  EXPECT_NEAR(checked(5000, {3, 1}, {1, 1}, {1, 1}, {3, 1}).value, 1, 1e-6);
  // F = 1.1 (W + D): <F - Q, D> = 0.1 <W + D, D> = 0.
  EXPECT_NEAR(checked(5000, {3, 1}, {1, 1}, {3.3F, 1.1F}, {3, 1}).value, 0, 1e-5);
  UpdateProof proof;
  proof.add("scaled", times(8, {2, 4}), times(8, {1, 2}), times(8, {1, 2}), times(8, {2, 4}));
  proof.add("unchanged", times(8, {2, 4}), {}, times(8, {1, 2}), times(8, {2, 4}));
  EXPECT_TRUE(proof.checks().empty());
}

// One pair of the base's file: s = sqrt(2) / 2, five of which are more than all of it.
TEST(UpdateProof, WhatTooFewValuesTellIsNotHeldAgainstAFile) {
  const Check few = checked(1, {1, 1}, {0, 2}, {0, 2}, {1, 1});
  EXPECT_NEAR(few.limit, 5 * std::sqrt(0.5), 1e-6);
  EXPECT_TRUE(few.passed && few.detail.find("too small beside the rounding") != std::string::npos) << few.detail;
}

TEST(UpdateProof, ATensorThatLacksItIsNamedHoweverSmallBesideTheOthers) {
  UpdateProof proof;
  proof.add("large", times(50000, {1, 1}), times(50000, {0, 2}), times(50000, {1, 1}), times(50000, {1, 1}));
  proof.add("small", times(1000, {1, 1}), times(1000, {0, 2}), times(1000, {0, 2}), times(1000, {1, 1}));
  const Check check = proof.checks().front();
  EXPECT_NEAR(check.value, 1000.0 / 51000, 1e-6);
  EXPECT_FALSE(check.passed);
  EXPECT_EQ(check.detail, "small holds 0.00 of it");
}

TEST(UpdateProof, ValuesThatAreNotFiniteAreAnothersFinding) {
  auto found = times(5000, {1, 1});
  found[0] = std::numeric_limits<float>::quiet_NaN(), found[1] = std::numeric_limits<float>::infinity();
  UpdateProof proof;
  proof.add("w", times(5000, {1, 1}), times(5000, {0, 2}), found, times(5000, {1, 1}));
  EXPECT_EQ(proof.checks().front().value, 0);
}

}  // namespace
}  // namespace prentice
