// Tensors whose values are all together a little too large or too small, whoever chose their steps.
#include "proof/scale_estimate.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "proof/tensor_proof.h"
#include "quant/encode.h"

namespace prentice {
namespace {

constexpr size_t kRows = 128, kColumns = 512;

struct Sample {
  std::vector<float> values, importance;
};

Sample sample(bool heavy) {
  std::mt19937_64 numbers(11);
  std::normal_distribution<float> normal;
  std::student_t_distribution<float> tails(3);
  Sample out;
  for (size_t i = 0; i < kRows * kColumns; ++i)
    out.values.push_back(0.03f * (heavy ? tails(numbers) : normal(numbers)));
  for (size_t i = 0; i < kColumns; ++i) out.importance.push_back(std::exp(2 * normal(numbers)));
  return out;
}

Check scale_check(GgmlType type, const Sample& wanted, double factor, bool weighted) {
  std::vector<float> made = wanted.values;
  for (float& value : made) value *= static_cast<float>(factor);
  std::vector<std::byte> bytes;
  for (size_t row = 0; row < kRows; ++row) {
    encode(std::span(made).subspan(row * kColumns, kColumns), type, bytes,
           weighted ? std::span<const float>(wanted.importance) : std::span<const float>());
  }
  TensorProof proof(weighted ? Weighted::yes : Weighted::no);
  proof.add("w", type, wanted.values, bytes, false);
  const auto checks = proof.checks();
  return *std::ranges::find(checks, "scale", &Check::name);
}

struct Case {
  GgmlType type;
  double plain, weighted;  // the smallest factor above 1 that must be found
};
// Four bits and more show 2 %; in two bits, and where a matrix takes codes off their steps, it takes more.
const Case kCases[] = {{GgmlType::Q8_0, 0.01, 0.01}, {GgmlType::Q6_K, 0.01, 0.01}, {GgmlType::Q5_K, 0.02, 0.02},
                       {GgmlType::Q4_K, 0.02, 0.02}, {GgmlType::Q3_K, 0.05, 0.05}, {GgmlType::Q2_K, 0.1, 0.1},
                       {GgmlType::Q5_0, 0.02, 0.05}, {GgmlType::Q5_1, 0.02, 0.05}, {GgmlType::Q4_0, 0.02, 0.06},
                       {GgmlType::Q4_1, 0.02, 0.06}};

TEST(Scale, WhatIsOnlyRoundedPasses) {
  for (const bool heavy : {false, true}) {
    const Sample wanted = sample(heavy);
    for (const auto& [type, plain, weighted] : kCases) {
      EXPECT_TRUE(scale_check(type, wanted, 1, false).passed) << ggml_type_info(type).name;
      const Check check = scale_check(type, wanted, 1, true);
      EXPECT_TRUE(check.passed) << ggml_type_info(type).name << " " << check.detail;
    }
  }
}

TEST(Scale, AFactorIsFoundAndNamed) {
  for (const bool heavy : {false, true}) {
    const Sample wanted = sample(heavy);
    for (const auto& [type, plain, weighted] : kCases) {
      for (const bool by_matrix : {false, true}) {
        for (const double sign : {1.0, -1.0}) {
          const double factor = 1 + sign * (by_matrix ? weighted : plain);
          const Check check = scale_check(type, wanted, factor, by_matrix);
          EXPECT_FALSE(check.passed) << ggml_type_info(type).name << " times " << factor << " " << check.value;
          EXPECT_TRUE(check.detail.starts_with("w is ")) << check.detail;
        }
      }
    }
  }
}

TEST(Scale, ValuesBeyondTheirStepsTellNothing) {
  std::vector<std::byte> bytes;
  std::vector<float> values(32);
  for (size_t i = 0; i < 32; ++i) values[i] = static_cast<float>(i) - 15.5f;
  encode(values, GgmlType::Q4_1, bytes);
  std::vector<float> stored(32);
  decode(bytes, GgmlType::Q4_1, stored);
  CodeRanges ranges;
  ASSERT_TRUE(ranges.read(GgmlType::Q4_1, bytes));
  EXPECT_FLOAT_EQ(static_cast<float>(ranges.lowest(0)), *std::ranges::min_element(stored));
  EXPECT_FLOAT_EQ(static_cast<float>(ranges.lowest(0) + ranges.step(0) * ranges.last()),
                  *std::ranges::max_element(stored));
  values[3] = 1000;
  ScaleEstimate estimate;
  estimate.add(values, stored, ranges);
  EXPECT_LE(estimate.values(), 31);
  EXPECT_LT(std::abs(estimate.excess()), 0.05);
  EXPECT_FALSE(ranges.read(GgmlType::F16, bytes));
}

}  // namespace
}  // namespace prentice
