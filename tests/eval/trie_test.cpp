#include "eval/trie.h"

#include <ATen/TensorIndexing.h>
#include <ATen/ops/log_softmax.h>
#include <c10/core/GradMode.h>

#include "adapter/tiny.h"

namespace prentice {
namespace {

using Ids = std::vector<int32_t>;

// log p of `answer` after `prompt`, from one whole sequence.
double brute_force(const Model& model, const Ids& prompt, const Ids& answer) {
  const c10::NoGradGuard no_grad;
  std::vector<int64_t> ids(prompt.begin(), prompt.end());
  ids.insert(ids.end(), answer.begin(), answer.end());
  const Tensor log_p = at::log_softmax(logits(model, forward_hidden(model, flat_batch({ids}), {})), 1);
  double sum = 0;
  for (size_t i = 0; i < answer.size(); ++i) {
    sum += log_p.index({static_cast<int64_t>(prompt.size() + i) - 1, answer[i]}).item<double>();
  }
  return sum;
}

const std::vector<Ids> kAnswers = {{7, 8, 9, 2}, {7, 8, 2},   {7, 2}, {30}, {7, 8, 9, 10, 11, 12, 2},
                                   {7, 8, 2},    {9, 8, 9, 2}};

TEST(TokenTree, SharedPrefixesStandOnce) {
  const TokenTree tree = build_tree({1, 5}, kAnswers);
  EXPECT_EQ(tree.ids, (Ids{7, 8, 9, 10, 11, 12, 9, 8, 9}));
  EXPECT_EQ(tree.parents, (Ids{-1, 0, 1, 2, 3, 4, -1, 6, 7}));
  EXPECT_EQ(tree.edges.size(), 15u);
  EXPECT_EQ(tree.paths[1], tree.paths[5]);
  EXPECT_EQ(tree.paths[3].size(), 1u);
}

TEST(TokenTree, EveryPathHasTheProbabilityOfItsSequence) {
  const std::filesystem::path golden = "tests/golden/model";
  std::vector<Model> models;
  models.push_back(tiny_model());
  models.push_back(tiny_model());
  models.back().spec.final_softcap = 3, models.back().spec.attention_softcap = 2;
  for (const char* name : {"mistral_window", "qwen2_window"}) {
    models.push_back(load_model(golden / name, {.dtype = at::kDouble, .device = at::kCPU}));
  }
  const std::vector<Ids> prompts = {{1, 5, 22, 17, 3, 9, 30, 14}, {4}, {2, 2, 2}};
  for (size_t m = 0; m < models.size(); ++m) {
    std::vector<TokenTree> trees;
    for (const Ids& prompt : prompts) trees.push_back(build_tree(prompt, kAnswers));
    trees.push_back(build_tree({6, 6}, {{3}, {4}}));  // a tree without nodes
    const Tensor edges = edge_log_probs(models[m], trees);
    int64_t begin = 0;
    for (size_t t = 0; t < prompts.size(); ++t) {
      for (size_t a = 0; a < kAnswers.size(); ++a) {
        double sum = 0;
        for (const int32_t edge : trees[t].paths[a]) sum += edges[begin + edge].item<double>();
        EXPECT_NEAR(sum, brute_force(models[m], prompts[t], kAnswers[a]), 1e-9) << "model " << m << " answer " << a;
      }
      begin += static_cast<int64_t>(trees[t].edges.size());
    }
    EXPECT_NEAR(edges[begin + 1].item<double>(), brute_force(models[m], {6, 6}, {4}), 1e-9);
  }
}

TEST(TokenTree, AnAdapterCountsAndCanBeOff) {
  Model model = tiny_model();
  const auto score = [&] { return edge_log_probs(model, {build_tree({1, 5}, {{7, 2}})}).sum().item<double>(); };
  const double base = score();
  attach_lora(model, lora_section(), 1);
  disturb(model);
  EXPECT_NEAR(score(), brute_force(model, {1, 5}, {7, 2}), 1e-9);
  EXPECT_GT(std::abs(score() - base), 1e-3);
  const AdapterOff off(model);
  EXPECT_NEAR(score(), base, 1e-12);
}

}  // namespace
}  // namespace prentice
