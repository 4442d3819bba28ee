#include "distill/on_policy.h"

#include <ATen/ops/allclose.h>
#include <ATen/ops/softmax.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>

#include "data/steps.h"
#include "data/unpack.h"
#include "model/spec.h"

namespace prentice {
namespace {

constexpr int64_t kVocab = 13;

const Model& student() {
  static const Model model = [] {
    ModelSpec spec = read_spec(Json::parse(R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama",
      "vocab_size": 13, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
      "num_key_value_heads": 1, "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "initializer_range": 0.5})"));
    return random_model(spec, 3, {.dtype = at::kFloat, .device = at::kCPU});
  }();
  return model;
}

// A prompt of `prompt` tokens and an answer of `answer`; a first answer of two tokens before, where `turns` is 2.
Sequence example(int64_t sample, int prompt, int answer, int turns = 1) {
  Sequence sequence{.sample = sample};
  std::vector<bool> trained;
  const auto add = [&](int count, bool train) {
    for (int i = 0; i < count; ++i) {
      sequence.ids.push_back(static_cast<int32_t>((sample + static_cast<int64_t>(sequence.ids.size())) % kVocab));
      trained.push_back(train);
    }
  };
  add(prompt, false);
  if (turns == 2) add(2, true), add(2, false);
  add(answer, true);
  for (size_t t = 0; t < trained.size(); ++t) {
    const bool labelled = t + 1 < trained.size() && trained[t + 1];
    sequence.labels.push_back(labelled ? sequence.ids[t + 1] : static_cast<int32_t>(kNoLabel));
  }
  return sequence;
}

Step step_of(int count, int turns = 1) {
  std::vector<Sequence> sequences;
  for (int i = 0; i < count; ++i) sequences.push_back(example(i, 3 + i % 3, 2 + i % 4, turns));
  Step step;
  for (int i = 0; i < count; i += 4) {
    std::vector<const Sequence*> members;
    for (int j = i; j < std::min(count, i + 4); ++j) members.push_back(&sequences[static_cast<size_t>(j)]);
    step.micros.push_back(collate(members, 0));
  }
  for (const auto& sequence : sequences) step.counts.tokens += sequence.target_weight();
  step.counts.sequences = count;
  return step;
}

const SamplingOptions kOptions{
    .share = 0.5, .max_new_tokens = 6, .max_length = 20, .micro_tokens = 30, .stop_ids = {5}};

struct Found {
  std::map<int64_t, Sequence> given, sampled;  // by key
};
Found found_in(const Step& step) {
  Found found;
  for (const auto& batch : step.micros) {
    const auto sequences = sequences_of(batch);
    for (size_t i = 0; i < sequences.size(); ++i) {
      (batch.sampled ? found.sampled : found.given)[batch.sample_key[static_cast<int64_t>(i)].item<int64_t>()] =
          sequences[i];
    }
  }
  return found;
}

TEST(OnPolicy, AShareOfTheExamplesIsAnsweredAnewAndTheRestStaysAsItIs) {
  Step step = step_of(10);
  const Found before = found_in(step);
  sample_answers(step, 4, student(), kOptions);
  const Found after = found_in(step);
  EXPECT_EQ(after.sampled.size(), 5u);
  EXPECT_EQ(after.given.size(), 5u);
  for (const auto& [key, sequence] : after.given) {
    EXPECT_EQ(sequence.ids, before.given.at(key).ids);
    EXPECT_EQ(sequence.labels, before.given.at(key).labels);
  }
  for (const auto& [key, sequence] : after.sampled) {
    const Sequence& given = before.given.at(key);
    const int64_t begin = last_answer(given).begin;
    EXPECT_TRUE(std::equal(sequence.ids.begin(), sequence.ids.begin() + begin + 1, given.ids.begin()));
    EXPECT_GE(sequence.size(), begin + 2);
    EXPECT_LE(sequence.size(), begin + 1 + kOptions.max_new_tokens);
    for (int64_t t = 0; t < sequence.size(); ++t) {
      const bool labelled = t >= begin && t + 1 < sequence.size();
      EXPECT_EQ(sequence.labels[t], labelled ? sequence.ids[t + 1] : static_cast<int32_t>(kNoLabel));
      if (t > begin && t + 1 < sequence.size()) EXPECT_NE(sequence.ids[t], 5) << "it went on behind its end";
    }
  }
}

TEST(OnPolicy, CountsAndBatchesAreThoseOfTheSampledStep) {
  Step step = step_of(10);
  sample_answers(step, 1, student(), kOptions);
  double tokens = 0, sampled = 0;
  int64_t input = 0;
  for (const auto& batch : step.micros) {
    const double labels = static_cast<double>(batch.target_rows.size(0));
    tokens += labels;
    if (batch.sampled) sampled += labels;
    input += batch.tokens.size(0);
    EXPECT_LE(batch.tokens.size(0), kOptions.micro_tokens);
  }
  EXPECT_EQ(step.counts.tokens, tokens);
  EXPECT_EQ(step.counts.sampled_tokens, sampled);
  EXPECT_EQ(step.counts.sequences, 10);
  EXPECT_EQ(step.input_tokens, input);
  EXPECT_GT(sampled, 0);
}

TEST(OnPolicy, TheSameStepHasTheSameBitsAndAnotherOneOthers) {
  const auto ids_at = [&](int64_t index, uint64_t seed, bool packing) {
    Step step = step_of(10);
    SamplingOptions options = kOptions;
    options.seed = seed, options.packing = packing;
    sample_answers(step, index, student(), options);
    std::map<int64_t, std::vector<int32_t>> ids;
    for (const auto& [key, sequence] : found_in(step).sampled) ids[key] = sequence.ids;
    return ids;
  };
  EXPECT_EQ(ids_at(7, 1, true), ids_at(7, 1, true));
  EXPECT_EQ(ids_at(7, 1, true), ids_at(7, 1, false));  // whatever the packing
  EXPECT_NE(ids_at(7, 1, true), ids_at(8, 1, true));
  EXPECT_NE(ids_at(7, 1, true), ids_at(7, 2, true));
}

TEST(OnPolicy, OverManyStepsTheShareIsMet) {
  for (const double share : {0.0, 0.13, 0.5, 1.0}) {
    SamplingOptions options = kOptions;
    options.share = share, options.max_new_tokens = 1;
    size_t sampled = 0;
    std::set<int64_t> chosen;
    for (int64_t index = 0; index < 100; ++index) {
      Step step = step_of(5);
      sample_answers(step, index, student(), options);
      const Found found = found_in(step);
      EXPECT_EQ(found.given.size() + found.sampled.size(), 5u);
      sampled += found.sampled.size();
      for (const auto& [key, sequence] : found.sampled) chosen.insert(key);
    }
    EXPECT_NEAR(static_cast<double>(sampled) / 500, share, share > 0 && share < 1 ? 0.04 : 0);
    EXPECT_EQ(chosen.size(), share > 0 ? 5u : 0u);
  }
}

TEST(OnPolicy, OnlyTheLastAnswerOfAConversationIsNew) {
  Step step = step_of(4, 2);
  SamplingOptions options = kOptions;
  options.share = 1;
  const Found before = found_in(step);
  sample_answers(step, 0, student(), options);
  for (const auto& [key, sequence] : found_in(step).sampled) {
    const auto [begin, end] = last_answer(before.given.at(key));
    EXPECT_GT(begin, 4);
    EXPECT_EQ(last_answer(sequence).begin, begin);
    for (int64_t t = 0; t < begin; ++t) EXPECT_EQ(sequence.labels[t], kNoLabel);
  }
}

// The first sampled token of many steps against the model's own distribution.
TEST(OnPolicy, TokensAreDrawnFromTheModel) {
  const Sequence prompt = example(2, 4, 2);
  const Batch batch = collate({&prompt}, 0);
  const Tensor row = logits(student(), forward_hidden(student(), batch, {}))[3];
  const Tensor expected = at::softmax(row, 0);
  std::vector<double> seen(kVocab, 0.0);
  constexpr int kDraws = 1000;
  SamplingOptions options = kOptions;
  options.share = 1, options.max_new_tokens = 1;
  for (int i = 0; i < kDraws; ++i) {
    Step step{.micros = {collate({&prompt}, 0)}};
    sample_answers(step, i, student(), options);
    seen[static_cast<size_t>(step.micros[0].tokens[4].item<int64_t>())] += 1.0 / kDraws;
  }
  for (int64_t id = 0; id < kVocab; ++id) {
    const double p = expected[id].item<double>();
    EXPECT_NEAR(seen[static_cast<size_t>(id)], p, 4 * std::sqrt(p * (1 - p) / kDraws) + 1e-3) << id;
  }
}

TEST(OnPolicy, TheLongestAnswerIsThatOfTheData) {
  const std::vector<Sequence> sequences = {example(0, 3, 2), example(1, 3, 7), example(2, 9, 4, 2)};
  EXPECT_EQ(longest_answer(sequences), 7);
}

}  // namespace
}  // namespace prentice
