// Cached inference against the full forward pass, and the choice of tokens.
#include "model/generate.h"

#include <ATen/ops/argmax.h>
#include <c10/core/GradMode.h>

#include <cmath>

#include "core/error.h"
#include "model/golden.h"
#include "model/sample.h"

namespace prentice {
namespace {

Model golden(const char* name, c10::ScalarType type = at::kDouble) {
  return load_model(kGoldenModels / name, {.dtype = type, .device = at::kCPU});
}

const std::vector<int32_t> kText = {1, 17, 5, 40, 8, 33, 2, 2, 19, 44, 12, 7, 30, 21, 9, 0, 11};
std::vector<int64_t> wide(std::span<const int32_t> ids) { return {ids.begin(), ids.end()}; }

class Cached : public testing::TestWithParam<const char*> {};

TEST_P(Cached, AnyChunksGiveTheFullForwardPass) {
  const c10::NoGradGuard no_grad;
  const Model model = golden(GetParam());
  const Tensor full = forward_hidden(model, flat_batch({wide(kText)}), {});
  for (const std::vector<size_t>& chunks : std::vector<std::vector<size_t>>{{17}, {5, 12}, {1, 1, 9, 1, 5}, {16, 1}}) {
    KvCache cache(model);
    std::vector<Tensor> parts;
    size_t at = 0;
    for (size_t count : chunks) {
      parts.push_back(forward_cached(model, std::span(kText).subspan(at, count), cache));
      at += count;
    }
    EXPECT_EQ(cache.length(), 17);
    EXPECT_LT(relative(at::cat(parts), full), 1e-12) << chunks.size() << " chunks";
  }
}

TEST_P(Cached, TruncatedCacheForgets) {
  const Model model = golden(GetParam());
  KvCache cache(model);
  const std::span text(kText);
  forward_cached(model, text.first(6), cache);
  forward_cached(model, text.subspan(10, 5), cache);
  cache.truncate(6);
  const Tensor again = forward_cached(model, text.subspan(6, 4), cache);
  const c10::NoGradGuard no_grad;
  const Tensor full = forward_hidden(model, flat_batch({wide(text.first(10))}), {});
  EXPECT_LT(relative(again, full.narrow(0, 6, 4)), 1e-12);
}

INSTANTIATE_TEST_SUITE_P(Golden, Cached,
                         testing::Values("llama_biased_llama3", "llama_tied_linear", "mistral_window", "qwen2_window"));

TEST(Cached, GrowsPastItsFirstCapacity) {
  const c10::NoGradGuard no_grad;
  const Model model = golden("llama_tied_linear");
  std::vector<int32_t> ids;
  for (int i = 0; i < 700; ++i) ids.push_back(static_cast<int32_t>((i * 7 + i / 5) % 48));
  KvCache cache(model);
  forward_cached(model, std::span(ids).first(200), cache);
  const Tensor rest = forward_cached(model, std::span(ids).subspan(200), cache);
  EXPECT_LT(relative(rest, forward_hidden(model, flat_batch({wide(ids)}), {}).narrow(0, 200, 500)), 1e-12);
}

TEST(Generate, GreedyFollowsTheFullForwardPass) {
  const c10::NoGradGuard no_grad;
  const Model model = golden("mistral_window");
  std::vector<int32_t> prompt = {3, 9, 27};
  const auto made = generate(model, prompt, {.max_new_tokens = 20});
  ASSERT_EQ(made.size(), 20u);
  for (int32_t id : made) {
    const Tensor scores = logits(model, forward_hidden(model, flat_batch({wide(prompt)}), {}));
    EXPECT_EQ(id, at::argmax(scores[scores.size(0) - 1]).item<int64_t>());
    prompt.push_back(id);
  }
}

TEST(Generate, StopsAtAStopTokenAndKeepsIt) {
  const Model model = golden("mistral_window");
  const std::vector<int32_t> prompt = {3, 9, 27};
  const auto free = generate(model, prompt, {.max_new_tokens = 12});
  const auto stopped = generate(model, prompt, {.max_new_tokens = 12, .stop_ids = {free[4]}});
  const auto first = std::find(free.begin(), free.end(), free[4]);
  EXPECT_EQ(stopped, std::vector<int32_t>(free.begin(), first + 1));
}

TEST(Generate, StopsWhenTheListenerSaysSo) {
  const Model model = golden("mistral_window");
  int heard = 0;
  const auto made = generate(model, std::vector<int32_t>{3}, {}, [&](int32_t) { return ++heard < 3; });
  EXPECT_EQ(made.size(), 3u);
}

TEST(Generate, ASeedFixesTheText) {
  const Model model = golden("qwen2_window");
  const auto sample = [&](uint64_t seed) {
    return generate(model, std::vector<int32_t>{5}, {.max_new_tokens = 24, .temperature = 1, .seed = seed});
  };
  EXPECT_EQ(sample(1), sample(1));
  EXPECT_NE(sample(1), sample(2));
}

TEST(Generate, RefusesAnEmptyPrompt) {
  const Model model = golden("qwen2_window");
  EXPECT_THROW(generate(model, {}, {}), Error);
}

// Probabilities 0.5, 0.25, 0.125, 0.125 at temperature 1, ids 2, 0, 1, 3.
const std::vector<double> kScores = {std::log(0.25), std::log(0.125), std::log(0.5), std::log(0.125)};

struct ChoiceCase {
  const char* what;
  SampleOptions options;
  double draw;
  int32_t chosen;
};

TEST(ChooseToken, FollowsTheOptions) {
  const ChoiceCase cases[] = {
      {"greedy", {.temperature = 0}, 0.99, 2},
      {"most likely first", {.temperature = 1}, 0.49, 2},
      {"then the second", {.temperature = 1}, 0.51, 0},
      {"ties by id", {.temperature = 1}, 0.80, 1},
      {"the end of the line", {.temperature = 1}, 0.999, 3},
      {"top_k 2 leaves two", {.temperature = 1, .top_k = 2}, 0.999, 0},
      {"top_k 2 renormalises", {.temperature = 1, .top_k = 2}, 0.66, 2},
      {"top_p cuts after reaching the mass", {.temperature = 1, .top_p = 0.5}, 0.999, 2},
      {"top_p keeps the one that crosses", {.temperature = 1, .top_p = 0.51}, 0.999, 0},
      {"top_p keeps at least one", {.temperature = 1, .top_p = 0.001}, 0.999, 2},
      {"a low temperature sharpens", {.temperature = 0.5}, 0.70, 2},  // 0.25 of 0.34375 = 0.727
      {"a low temperature still draws", {.temperature = 0.5}, 0.74, 0},
      {"what pads the head is never greedy", {.temperature = 0, .vocab = 2}, 0.0, 0},
      {"nor drawn", {.temperature = 1, .vocab = 2}, 0.999, 1},
      {"a vocabulary larger than the head is all", {.temperature = 1, .vocab = 9}, 0.999, 3},
      {"top_k above the vocabulary is all", {.temperature = 1, .top_k = 99}, 0.999, 3},
  };
  for (const auto& c : cases) EXPECT_EQ(choose_token(at::tensor(kScores), c.options, c.draw), c.chosen) << c.what;
}

}  // namespace
}  // namespace prentice
