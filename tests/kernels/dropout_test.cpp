// The dropout mask is a function of (seed, step, sample, module, position, feature) and of nothing else.
#include "kernels/dropout.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>

#include "core/random.h"
#include "kernels/dropout_mask.h"

namespace prentice {
namespace {

// Sequences of these (sample, length), end to end.
DropoutKey key_of(const std::vector<std::pair<int64_t, int64_t>>& sequences, double rate = 0.3) {
  std::vector<int64_t> samples, positions;
  std::vector<int32_t> ids;
  for (const auto& [sample, length] : sequences) {
    for (int64_t t = 0; t < length; ++t) {
      ids.push_back(static_cast<int32_t>(samples.size()));
      positions.push_back(t);
    }
    samples.push_back(sample);
  }
  return {.seed = 17,
          .step = 3,
          .module = 5,
          .rate = rate,
          .sample_key = at::tensor(samples),
          .sequence_id = at::tensor(ids),
          .positions = at::tensor(positions)};
}

Tensor mask(const DropoutKey& key, int64_t width) {
  return apply_dropout(at::ones({key.positions.numel(), width}, at::kDouble), key);
}

TEST(Dropout, ThePackingDoesNotMatter) {
  const Tensor packed = mask(key_of({{7, 4}, {9, 6}, {8, 3}}), 50);
  const Tensor alone = mask(key_of({{9, 6}}), 50);
  EXPECT_TRUE(at::equal(packed.narrow(0, 4, 6), alone));
}

TEST(Dropout, EveryPartOfTheCounterMatters) {
  const DropoutKey base = key_of({{7, 8}});
  const Tensor plain = mask(base, 64);
  DropoutKey seed = base, step = base, module = base, sample = key_of({{8, 8}}),
             high = key_of({{7 + (int64_t{1} << 32), 8}});
  seed.seed = 18, step.step = 4, module.module = 6;
  for (const DropoutKey& other : {seed, step, module, sample, high}) EXPECT_FALSE(at::equal(mask(other, 64), plain));
  EXPECT_FALSE(at::equal(plain[0], plain[1]));
  EXPECT_FALSE(at::equal(plain.narrow(1, 0, 4), plain.narrow(1, 4, 4)));
}

TEST(Dropout, TheShareAndTheScaleAreRight) {
  for (const double rate : {0.05, 0.3, 0.5, 0.9}) {
    const Tensor drawn = mask(key_of({{1, 500}}, rate), 400);
    const double zeros = drawn.eq(0).to(at::kDouble).mean().item<double>();
    EXPECT_NEAR(zeros, rate, 5 * std::sqrt(rate * (1 - rate) / 200000));
    EXPECT_DOUBLE_EQ(drawn.max().item<double>(), 1 / (1 - rate));
  }
}

TEST(Dropout, TheWidthDoesNotMatter) {
  EXPECT_TRUE(at::equal(mask(key_of({{1, 5}}), 200).narrow(1, 0, 67), mask(key_of({{1, 5}}), 67)));
}

TEST(Dropout, TheGeneratorIsThePlainOne) {
  for (uint32_t i = 0; i < 100; ++i) {
    const std::array<uint32_t, 4> counter = {i * 77777, ~i, i * i, 0x12345678u ^ i};
    const PhiloxWords words = philox({{counter[0], counter[1], counter[2], counter[3]}}, i, 99 * i);
    const auto wanted = philox4x32(counter, {i, 99 * i});
    for (size_t k = 0; k < 4; ++k) EXPECT_EQ(words.word[k], wanted[k]);
  }
}

TEST(Dropout, TypesShareTheMask) {
  const DropoutKey key = key_of({{1, 9}, {2, 3}}, 0.5);
  const Tensor wide = mask(key, 30);
  for (const auto type : {at::kFloat, at::kBFloat16, at::kHalf}) {
    EXPECT_TRUE(at::equal(apply_dropout(at::ones({12, 30}, type), key).to(at::kDouble), wide));
  }
}

}  // namespace
}  // namespace prentice
