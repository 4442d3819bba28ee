#include "data/steps.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "core/error.h"
#include "data/encode.h"
#include "data/pack.h"

namespace prentice {
namespace {

// A sequence of `length` tokens whose ids name the sample, trained from its third token on.
Sequence sequence_of(int64_t sample, int64_t length) {
  Sequence sequence;
  sequence.sample = sample;
  for (int64_t t = 0; t < length; ++t) {
    sequence.ids.push_back(static_cast<int32_t>(sample * 1000 + t));
    const bool trained = t >= 1 && t + 1 < length;
    sequence.labels.push_back(trained ? static_cast<int32_t>(sample * 1000 + t + 1) : static_cast<int32_t>(kNoLabel));
  }
  return sequence;
}

std::vector<Sequence> sequences_of(const std::vector<int64_t>& lengths) {
  std::vector<Sequence> sequences;
  for (size_t i = 0; i < lengths.size(); ++i) sequences.push_back(sequence_of(static_cast<int64_t>(i), lengths[i]));
  return sequences;
}

// A source with the set that it reads.
struct OwnedSteps {
  std::unique_ptr<EncodedSet> set;
  std::unique_ptr<StepSource> source;
  StepSource* operator->() const { return source.get(); }
  StepSource& operator*() const { return *source; }
};

OwnedSteps steps_of(EncodedSet set, const StepOptions& options) {
  OwnedSteps owned{.set = std::make_unique<EncodedSet>(std::move(set))};
  owned.source = make_step_source(*owned.set, options);
  return owned;
}

OwnedSteps steps_of(std::vector<Sequence> sequences, const StepOptions& options) {
  return steps_of(EncodedSet{.sequences = std::move(sequences)}, options);
}

std::vector<int64_t> values(const Tensor& tensor) {
  std::vector<int64_t> out;
  for (int64_t i = 0; i < tensor.numel(); ++i) {
    out.push_back(tensor.scalar_type() == at::kInt ? tensor.const_data_ptr<int32_t>()[i]
                                                   : tensor.const_data_ptr<int64_t>()[i]);
  }
  return out;
}

// The samples of a step, whatever the micro-batches.
std::multiset<int64_t> samples_of(const Step& step) {
  std::multiset<int64_t> samples;
  for (const auto& micro : step.micros) {
    for (size_t i = 0; i + 1 < micro.host_starts.size(); ++i) {
      samples.insert(micro.tokens.const_data_ptr<int64_t>()[micro.host_starts[i]] / 1000);
    }
  }
  return samples;
}

std::vector<std::multiset<int64_t>> all_samples(const StepSource& source) {
  std::vector<std::multiset<int64_t>> steps;
  for (int64_t i = 0; i < source.size(); ++i) steps.push_back(samples_of(source.step(i)));
  return steps;
}

const std::vector<int64_t> kLengths = {5, 9, 3, 12, 7, 4, 8, 6, 10, 3, 11};

TEST(Steps, TheArithmeticOfEpochsAndBatches) {
  struct Case {
    double epochs;
    int64_t batch, steps, expected_size, expected_in_epoch;
  };
  // 11 examples: 3 steps of 4, 4 and 3.
  const std::vector<Case> cases = {{1, 4, 0, 3, 3},    {3, 4, 0, 9, 3},      {0.5, 4, 0, 2, 3}, {1.34, 4, 0, 5, 3},
                                   {2, 11, 0, 2, 1},   {2, 100, 0, 2, 1},    {1, 1, 0, 11, 11}, {1, 4, 7, 7, 3},
                                   {0.01, 4, 0, 1, 3}, {2.0 / 3, 4, 0, 2, 3}};
  for (const auto& c : cases) {
    const auto source = steps_of(sequences_of(kLengths), {.batch = c.batch, .epochs = c.epochs, .steps = c.steps});
    EXPECT_EQ(source->size(), c.expected_size) << c.epochs << " epochs of batch " << c.batch;
    EXPECT_EQ(source->steps_in_epoch(), c.expected_in_epoch);
  }
}

TEST(Steps, AStepHoldsBatchExamplesWhateverThePacking) {
  for (const int64_t micro_tokens : {0, 12, 20, 1000}) {
    const auto source = steps_of(sequences_of(kLengths), {.batch = 4, .micro_tokens = micro_tokens});
    const auto steps = all_samples(*source);
    ASSERT_EQ(steps.size(), 3u);
    EXPECT_EQ(steps[0].size(), 4u);
    EXPECT_EQ(steps[1].size(), 4u);
    EXPECT_EQ(steps[2].size(), 3u);  // the short step is kept
  }
}

TEST(Steps, EveryEpochHoldsEachExampleOnceAndNoStepSpansTwo) {
  const auto source = steps_of(sequences_of(kLengths), {.batch = 4, .micro_tokens = 15, .epochs = 3});
  std::map<int64_t, std::multiset<int64_t>> seen;
  for (int64_t i = 0; i < source->size(); ++i) {
    const auto step = source->step(i);
    EXPECT_EQ(step.epoch, i / 3);
    seen[step.epoch].merge(samples_of(step));
  }
  const std::multiset<int64_t> all = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
  EXPECT_EQ(seen.size(), 3u);
  for (const auto& [epoch, samples] : seen) EXPECT_EQ(samples, all) << "epoch " << epoch;
}

TEST(Steps, OrderDependsOnSeedAndEpochOnly) {
  const auto order = [](uint64_t seed, int64_t micro_tokens, bool packing, double epochs) {
    return all_samples(
        *steps_of(sequences_of(kLengths),
                  {.batch = 2, .micro_tokens = micro_tokens, .packing = packing, .seed = seed, .epochs = epochs}));
  };
  const auto reference = order(17, 0, true, 2);
  EXPECT_EQ(reference, order(17, 13, true, 2));
  EXPECT_EQ(reference, order(17, 0, false, 2));
  EXPECT_NE(reference, order(18, 0, true, 2));
  auto longer = order(17, 0, true, 3);
  longer.resize(reference.size());
  EXPECT_EQ(reference, longer);
  EXPECT_NE(std::vector(reference.begin(), reference.begin() + 6), std::vector(reference.begin() + 6, reference.end()));
}

TEST(Steps, AnyStepCanBeAskedForAlone) {
  const StepOptions options = {.batch = 3, .micro_tokens = 16, .epochs = 5};
  const auto forward = steps_of(sequences_of(kLengths), options);
  const auto backward = steps_of(sequences_of(kLengths), options);
  std::map<int64_t, std::vector<int64_t>> tokens;
  for (int64_t i = 0; i < forward->size(); ++i) tokens[i] = values(forward->step(i).micros.back().tokens);
  for (int64_t i = backward->size() - 1; i >= 0; --i) {
    EXPECT_EQ(values(backward->step(i).micros.back().tokens), tokens[i]) << "step " << i;
  }
}

TEST(Steps, WithoutShufflingTheOrderIsThatOfTheFile) {
  const auto source = steps_of(sequences_of(kLengths), {.batch = 4, .shuffle = false});
  EXPECT_EQ(samples_of(source->step(0)), (std::multiset<int64_t>{0, 1, 2, 3}));
  EXPECT_EQ(samples_of(source->step(2)), (std::multiset<int64_t>{8, 9, 10}));
}

TEST(Steps, MicroBatchesHaveNoPaddingAndStayBelowTheLimit) {
  for (const int64_t limit : {12, 17, 25, 40}) {
    const auto source = steps_of(sequences_of(kLengths), {.batch = 11, .micro_tokens = limit});
    int64_t tokens = 0;
    const auto step = source->step(0);
    for (const auto& micro : step.micros) {
      EXPECT_LE(micro.tokens.numel(), limit);
      tokens += micro.tokens.numel();
    }
    EXPECT_EQ(tokens, 78);
    EXPECT_EQ(step.input_tokens, 78);
  }
}

TEST(Steps, ASequenceAboveTheLimitStandsAlone) {
  const auto source = steps_of(sequences_of({30, 5, 5}), {.batch = 3, .micro_tokens = 10});
  const auto step = source->step(0);
  ASSERT_EQ(step.micros.size(), 2u);
  std::multiset<int64_t> sizes;
  for (const auto& micro : step.micros) sizes.insert(micro.tokens.numel());
  EXPECT_EQ(sizes, (std::multiset<int64_t>{10, 30}));
}

// Structure of the flat batch: the same rows, packed or one by one.
TEST(Steps, PackedRowsAreTheUnpackedOnesEndToEnd) {
  const auto rows = [](bool packing) {
    std::map<int64_t, std::vector<std::vector<int64_t>>> rows;  // sample -> tokens, positions, labels, key
    const auto source = steps_of(sequences_of(kLengths), {.batch = 11, .micro_tokens = 30, .packing = packing});
    const auto step = source->step(0);
    EXPECT_EQ(step.counts.sequences, 11);
    EXPECT_EQ(step.counts.tokens, 78 - 2 * 11);
    for (const auto& micro : step.micros) {
      const auto tokens = values(micro.tokens), positions = values(micro.positions), labels = values(micro.labels);
      const auto ids = values(micro.sequence_id), keys = values(micro.sample_key), targets = values(micro.target_rows);
      EXPECT_EQ(values(micro.starts), micro.host_starts);
      for (size_t s = 0; s + 1 < micro.host_starts.size(); ++s) {
        const auto begin = micro.host_starts[s], end = micro.host_starts[s + 1];
        const auto slice = [&](const std::vector<int64_t>& all) {
          std::vector<int64_t> part;
          for (auto t = begin; t < end; ++t) part.push_back(all[t]);
          return part;
        };
        for (const auto id : slice(ids)) EXPECT_EQ(id, static_cast<int64_t>(s));
        rows[tokens[begin] / 1000] = {slice(tokens), slice(positions), slice(labels), {keys[s]}};
      }
      std::vector<int64_t> expected_targets;
      for (size_t t = 0; t < labels.size(); ++t) {
        if (labels[t] != kNoLabel) expected_targets.push_back(static_cast<int64_t>(t));
        EXPECT_EQ(micro.weights.const_data_ptr<float>()[t], labels[t] == kNoLabel ? 0.0F : 1.0F);
      }
      EXPECT_EQ(targets, expected_targets);
    }
    return rows;
  };
  const auto packed = rows(true), unpacked = rows(false);
  EXPECT_EQ(packed, unpacked);
  EXPECT_EQ(packed.at(3)[1], (std::vector<int64_t>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}));
  EXPECT_EQ(packed.at(2)[2], (std::vector<int64_t>{kNoLabel, 2002, kNoLabel}));
}

TEST(Steps, CountsAddUpTheWeightsOfLabels) {
  auto sequences = sequences_of({5, 4});
  sequences[0].weights = {9, 0.5, 0.25, 1, 9};  // the labelled positions are 1, 2, 3
  const auto step = steps_of(sequences, {.batch = 2})->step(0);
  EXPECT_DOUBLE_EQ(step.counts.tokens, 1.75 + 2);
  EXPECT_DOUBLE_EQ(sequences[0].target_weight(), 1.75);
}

TEST(Steps, ByTokensEveryStepButTheLastHoldsAboutThatMany) {
  for (const uint64_t seed : {1, 2, 3, 4, 5}) {
    const StepOptions options = {.batch = 0, .batch_tokens = 20, .seed = seed, .epochs = 2};
    const auto source = steps_of(sequences_of(kLengths), options);
    EXPECT_EQ(source->steps_in_epoch(), 4);  // ceil(78 / 20), for any order
    EXPECT_EQ(source->size(), 8);
    int64_t before = 0;
    for (int64_t i = 0; i < 4; ++i) {
      const int64_t tokens = source->step(i).input_tokens;
      EXPECT_GT(tokens, 0);
      EXPECT_LE(before + tokens, (i + 1) * 20) << "a step holds what ends within its share";
      before += tokens;
    }
    EXPECT_EQ(before, 78);
  }
}

TEST(Steps, SampleKeysTellSamplePieceAndOccurrenceApart) {
  Sequence sequence = sequence_of(5, 4);
  std::set<int64_t> keys = {sample_key(sequence, 0), sample_key(sequence, 1)};
  sequence.piece = 1;
  keys.insert(sample_key(sequence, 0));
  sequence.sample = 6;
  keys.insert(sample_key(sequence, 0));
  EXPECT_EQ(keys.size(), 4u);
  for (const auto key : keys) EXPECT_GE(key, 0);
}

TEST(Steps, TheHashKnowsEveryIdAndTheOrderButNotThePacking) {
  const auto hash = [](StepOptions options, const std::function<void(std::vector<Sequence>&)>& change) {
    auto sequences = sequences_of(kLengths);
    change(sequences);
    return steps_of(std::move(sequences), options)->order_hash();
  };
  const auto same = [](std::vector<Sequence>&) {};
  const auto reference = hash({}, same);
  EXPECT_EQ(reference.size(), 64u);
  EXPECT_EQ(reference, hash({.micro_tokens = 20, .epochs = 3}, same));
  EXPECT_NE(reference, hash({.seed = 18}, same));
  EXPECT_NE(reference, hash({.batch = 8}, same));
  EXPECT_NE(reference, hash({.shuffle = false}, same));
  EXPECT_NE(reference, hash({}, [](auto& s) { s[3].ids[2] += 1; }));
  EXPECT_NE(reference, hash({}, [](auto& s) { s[3].labels[2] = -100; }));
  EXPECT_NE(reference, hash({}, [](auto& s) { s[3].weights.assign(12, 0.5F); }));
  EXPECT_NE(reference, hash({}, [](auto& s) { std::swap(s[0], s[1]); }));
}

TEST(Steps, ImpossibleOptionsAreRefusedByName) {
  struct Case {
    std::vector<int64_t> lengths;
    StepOptions options;
    ExitCode code;
    std::string message;
  };
  const std::vector<Case> cases = {
      {{}, {}, ExitCode::data, "there are no rows to train on"},
      {{4}, {.batch = 0}, ExitCode::usage, "train.batch: expected at least 1 example per step, got 0"},
      {{4}, {.epochs = 0}, ExitCode::usage, "train.epochs: expected a number above 0, got 0"},
      {{4, 30},
       {.batch = 0, .batch_tokens = 20},
       ExitCode::usage,
       "train.batch_tokens: 20 is less than the longest row, 30 tokens"},
  };
  for (const auto& c : cases) {
    try {
      steps_of(sequences_of(c.lengths), c.options);
      ADD_FAILURE() << "accepted: " << c.message;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), c.code);
      EXPECT_STREQ(error.what(), c.message.c_str());
    }
  }
}

TEST(Steps, InOrderBatchesKeepTheOrderAndTheLimit) {
  const auto sequences = sequences_of(kLengths);
  std::vector<int64_t> tokens;
  std::vector<const Sequence*> pointers;
  for (const auto& sequence : sequences) pointers.push_back(&sequence);
  collate_in_order(pointers, 20, [&](const Batch& batch) {
    EXPECT_LE(batch.tokens.numel(), 20);
    for (const auto token : values(batch.tokens)) tokens.push_back(token);
  });
  std::vector<int64_t> expected;
  for (const auto& sequence : sequences) expected.insert(expected.end(), sequence.ids.begin(), sequence.ids.end());
  EXPECT_EQ(tokens, expected);
}

// The sequences are the largest thing in host memory during training: a source must not hold a second copy.
TEST(Steps, ReadTheSequencesOfTheSetThatMayMove) {
  EncodedSet set{.sequences = sequences_of({5, 4})};
  const auto source = make_step_source(set, {.batch = 2, .shuffle = false});
  set.sequences[1].ids[0] = 77;
  const EncodedSet moved = std::move(set);
  EXPECT_EQ(values(source->step(0).micros.at(0).tokens).at(5), 77);
}

TEST(Steps, OnlyTheFirstRowsStayAsText) {
  DataSet set;
  set.encoded.sequences = sequences_of({3, 3, 3, 3});
  set.encoded.sequences[1].sample = 2;  // row 1 was dropped
  set.examples.resize(5);
  set.examples[2].prompt = "kept";
  keep_examples(set, 2);
  ASSERT_EQ(set.examples.size(), 3u);
  EXPECT_EQ(set.examples[2].prompt, "kept");
  keep_examples(set, 9);
  EXPECT_EQ(set.examples.size(), 3u);
}

TEST(Pack, BinsAreFullAndDeterministic) {
  const std::vector<int64_t> lengths = {5, 5, 3, 3, 2, 2};
  const auto bins = pack_bins(lengths, 10);
  EXPECT_EQ(bins, (std::vector<std::vector<int64_t>>{{0, 1}, {2, 3, 4, 5}}));
  EXPECT_EQ(pack_bins({}, 10).size(), 0u);
  EXPECT_EQ(pack_bins({7, 7}, 0).size(), 1u);
}

EncodedSet mixed_set(int64_t first, int64_t second, double first_weight, double second_weight) {
  EncodedSet set;
  for (int64_t i = 0; i < first + second; ++i) {
    set.sequences.push_back(sequence_of(i, 3));
    set.origins.push_back({i < first ? "a.jsonl" : "b.jsonl", i + 1});
    set.mix_weights.push_back(i < first ? first_weight : second_weight);
  }
  return set;
}

TEST(Mix, WeightsAreSharesOfTheExamplesOfAnEpoch) {
  // 20 + 80 rows, shares 3 : 1 -> 75 draws of the first file's 20 rows, 25 of the second's 80.
  for (const bool shuffle : {true, false}) {
    const auto source = steps_of(mixed_set(20, 80, 3, 1), {.batch = 10, .shuffle = shuffle, .epochs = 16});
    ASSERT_EQ(source->steps_in_epoch(), 10);
    std::map<int64_t, int64_t> seen;
    for (int64_t epoch = 0; epoch < 16; ++epoch) {
      int64_t from_first = 0;
      for (int64_t i = 0; i < 10; ++i) {
        for (const auto sample : samples_of(source->step(epoch * 10 + i))) {
          from_first += sample < 20;
          ++seen[sample];
        }
      }
      EXPECT_EQ(from_first, 75) << "epoch " << epoch;
    }
    // 16 epochs: 1,200 draws over 20 rows and 400 over 80: every row equally often.
    for (int64_t sample = 0; sample < 100; ++sample) EXPECT_EQ(seen[sample], sample < 20 ? 60 : 5) << sample;
  }
}

TEST(Mix, ARowDrawnTwiceInAStepHasTwoKeys) {
  const auto source = steps_of(mixed_set(2, 8, 9, 1), {.batch = 10});
  std::set<int64_t> keys;
  for (const auto& micro : source->step(0).micros) {
    for (const auto key : values(micro.sample_key)) keys.insert(key);
  }
  EXPECT_EQ(keys.size(), 10u);
}

TEST(Mix, ApportionAddsUp) {
  EXPECT_EQ(apportion(10, {1, 1, 1}), (std::vector<int64_t>{4, 3, 3}));
  EXPECT_EQ(apportion(100, {0.7, 0.2, 0.1}), (std::vector<int64_t>{70, 20, 10}));
  EXPECT_EQ(apportion(5, {1, 0}), (std::vector<int64_t>{5, 0}));
}

}  // namespace
}  // namespace prentice
