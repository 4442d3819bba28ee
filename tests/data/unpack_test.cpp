#include "data/unpack.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include "data/steps.h"

namespace prentice {
namespace {

Sequence sequence_of(int32_t first, int64_t length) {
  Sequence sequence{.sample = first};
  for (int32_t t = 0; t < length; ++t) {
    const bool trained = t >= 1 && t + 1 < length;
    sequence.ids.push_back(first + t);
    sequence.labels.push_back(trained ? first + t + 1 : static_cast<int32_t>(kNoLabel));
    sequence.weights.push_back(trained ? 0.5F : 0.0F);
  }
  return sequence;
}

TEST(Unpack, ABatchGivesBackTheSequencesThatMadeIt) {
  const Sequence a = sequence_of(10, 5), b = sequence_of(30, 2), c = sequence_of(50, 7);
  const auto found = sequences_of(collate({&a, &b, &c}, 0));
  ASSERT_EQ(found.size(), 3u);
  for (const auto& [got, made] : {std::pair(&found[0], &a), {&found[1], &b}, {&found[2], &c}}) {
    EXPECT_EQ(got->ids, made->ids);
    EXPECT_EQ(got->labels, made->labels);
    EXPECT_EQ(got->weights, made->weights);
  }
}

TEST(Unpack, EveryMicroBatchOfEveryStepIsAnnotatedAndNothingElseChanges) {
  EncodedSet set;
  for (int32_t i = 0; i < 9; ++i) set.sequences.push_back(sequence_of(100 * i, 3 + i % 4));
  for (size_t i = 0; i < set.sequences.size(); ++i) set.sequences[i].sample = static_cast<int64_t>(i);
  const StepOptions options{.batch = 4, .micro_tokens = 9, .epochs = 2};
  const auto plain = make_step_source(set, options);
  const auto with =
      annotated(make_step_source(set, options), [](Batch& batch) { batch.retold_rows = batch.target_rows + 1; });
  ASSERT_EQ(with->size(), plain->size());
  EXPECT_EQ(with->steps_in_epoch(), plain->steps_in_epoch());
  EXPECT_EQ(with->order_hash(), plain->order_hash());
  for (int64_t i = 0; i < plain->size(); ++i) {
    const Step a = plain->step(i), b = with->step(i);
    ASSERT_EQ(a.micros.size(), b.micros.size());
    EXPECT_EQ(a.counts.tokens, b.counts.tokens);
    for (size_t m = 0; m < a.micros.size(); ++m) {
      EXPECT_TRUE(a.micros[m].tokens.equal(b.micros[m].tokens));
      EXPECT_FALSE(a.micros[m].retold_rows.defined());
      EXPECT_TRUE(b.micros[m].retold_rows.equal(a.micros[m].target_rows + 1));
    }
  }
}

}  // namespace
}  // namespace prentice
