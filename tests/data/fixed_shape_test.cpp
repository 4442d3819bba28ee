// Batches of few shapes: what is added carries no label and no weight, and what was there stays where it was.
#include "data/fixed_shape.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include <set>
#include <tuple>

#include "core/error.h"
#include "data/steps.h"

namespace prentice {
namespace {

// A sequence whose positions from the third on, but the last, are trained.
Sequence sequence_of(int64_t sample, int64_t length) {
  Sequence sequence;
  sequence.sample = sample;
  for (int64_t t = 0; t < length; ++t) {
    sequence.ids.push_back(static_cast<int32_t>(7 + sample * 100 + t));
    sequence.labels.push_back(t >= 2 && t + 1 < length ? static_cast<int32_t>(t) : static_cast<int32_t>(kNoLabel));
  }
  return sequence;
}

Batch batch_of(const std::vector<int64_t>& lengths) {
  std::vector<Sequence> sequences;
  for (size_t i = 0; i < lengths.size(); ++i) sequences.push_back(sequence_of(static_cast<int64_t>(i), lengths[i]));
  std::vector<const Sequence*> pointers;
  for (const Sequence& sequence : sequences) pointers.push_back(&sequence);
  return collate(pointers, 0);
}

void expect_a_consistent_batch(const Batch& batch) {
  const int64_t tokens = batch.tokens.size(0), sequences = batch.sample_key.size(0);
  for (const Tensor* each : {&batch.positions, &batch.labels, &batch.weights, &batch.sequence_id}) {
    EXPECT_EQ(each->size(0), tokens);
  }
  ASSERT_EQ(batch.starts.size(0), sequences + 1);
  ASSERT_EQ(batch.host_starts.size(), static_cast<size_t>(sequences) + 1);
  EXPECT_EQ(batch.host_starts.back(), tokens);
  for (int64_t s = 0; s < sequences; ++s) {
    const int64_t begin = batch.host_starts[s], end = batch.host_starts[s + 1];
    EXPECT_EQ(batch.starts[s].item<int64_t>(), begin);
    EXPECT_LE(end - begin, batch.longest);
    for (int64_t t = begin; t < end; ++t) {
      EXPECT_EQ(batch.sequence_id[t].item<int64_t>(), s);
      EXPECT_EQ(batch.positions[t].item<int64_t>(), t - begin);
    }
  }
}

TEST(FixedShape, WhatIsAddedIsBehindAndTrainsNothing) {
  const FixedShape shape{.tokens = 64, .longest = 13};
  for (const auto& lengths : {std::vector<int64_t>{9, 13, 5}, {13, 13, 13, 13, 12}, {4}, {3, 3, 3, 3, 3, 3, 3, 3, 3}}) {
    const Batch before = batch_of(lengths), after = with_fixed_shape(before, shape);
    const int64_t own = before.tokens.size(0), tokens = after.tokens.size(0), targets = before.target_rows.size(0);
    expect_a_consistent_batch(after);
    EXPECT_EQ(tokens % 4, 0);
    EXPECT_LT(tokens - own, 4);
    EXPECT_EQ(after.longest, 13);
    using Member = Tensor Batch::*;
    for (const Member m : {&Batch::tokens, &Batch::positions, &Batch::labels, &Batch::weights, &Batch::sequence_id}) {
      EXPECT_TRUE(at::equal((after.*m).narrow(0, 0, own), before.*m));
    }
    EXPECT_TRUE(at::equal(after.sample_key.narrow(0, 0, before.sample_key.size(0)), before.sample_key));
    EXPECT_TRUE((after.labels.narrow(0, own, tokens - own) == kNoLabel).all().item<bool>());
    EXPECT_TRUE((after.weights.narrow(0, own, tokens - own) == 0).all().item<bool>());
    EXPECT_TRUE(at::equal(after.target_rows.narrow(0, 0, targets), before.target_rows));
    for (int64_t i = targets; i < after.target_rows.size(0); ++i) {
      const int64_t row = after.target_rows[i].item<int64_t>();
      EXPECT_EQ(after.labels[row].item<int64_t>(), kNoLabel);
      EXPECT_EQ(after.weights[row].item<float>(), 0);
    }
  }
}

TEST(FixedShape, BatchesOfAllLengthsHaveFewShapes) {
  std::set<std::tuple<int64_t, int64_t, int64_t>> shapes;
  for (int64_t length = 3; length <= 320; ++length) {
    const Batch batch = with_fixed_shape(batch_of({length}), {.tokens = 320, .longest = 320});
    shapes.emplace(batch.tokens.size(0), batch.target_rows.size(0), batch.starts.size(0));
  }
  EXPECT_LE(shapes.size(), 32);
}

TEST(FixedShape, ALongerBatchStays) {
  const Batch before = batch_of({40}), after = with_fixed_shape(before, {.tokens = 32, .longest = 40});
  EXPECT_TRUE(at::equal(after.tokens, before.tokens));
  EXPECT_EQ(after.host_starts, before.host_starts);
}

TEST(FixedShape, PairsAreRefused) {
  Batch batch = batch_of({4, 4});
  batch.pair = batch.sample_key;
  EXPECT_THROW(with_fixed_shape(batch, {.tokens = 32, .longest = 8}), Error);
}

}  // namespace
}  // namespace prentice
