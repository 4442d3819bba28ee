#include "objective/top_rows.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tanh.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/topk.h>
#include <gtest/gtest.h>

namespace prentice {
namespace {

constexpr int64_t kTokens = 23, kHidden = 8, kVocab = 40, kPadded = 48;

struct Case {
  Tensor hidden = at::randn({kTokens, kHidden});
  Linear head;
  Batch batch;
  Tensor exact;  // [N, kVocab] f64 log-probabilities of the labelled rows

  explicit Case(double softcap) {
    Tensor weight = at::randn({kPadded, kHidden}).mul_(2);
    weight.narrow(0, kVocab, kPadded - kVocab).mul_(5);  // rows that no token has are often the likeliest
    head = {.name = "lm_head", .weight = Dense{weight}, .in_features = kHidden, .out_features = kPadded};
    head.lora = Lora{.a = at::randn({3, kHidden}), .b = at::randn({kPadded, 3}), .scale = 0.5};
    batch.labels = at::randint(kVocab, {kTokens}, at::kLong);
    batch.target_rows = at::tensor({1, 2, 5, 6, 7, 11, 12, 20, 22}, at::kLong);
    const Tensor full = (weight + 0.5 * head.lora->b.matmul(head.lora->a)).narrow(0, 0, kVocab).to(at::kDouble);
    Tensor logits = hidden.index_select(0, batch.target_rows).to(at::kDouble).matmul(full.t());
    if (softcap > 0) logits = at::tanh(logits / softcap) * softcap;
    exact = at::log_softmax(logits, 1);
  }
};

TEST(TopRows, AreTheLikeliestOfTheSoftmaxOverTheTrueVocabularyWhateverTheChunks) {
  for (const double softcap : {0.0, 4.0}) {
    at::manual_seed(3);
    const Case c(softcap);
    for (const int64_t k : {int64_t{1}, int64_t{7}, kVocab}) {
      const auto [values, ids] = at::topk(c.exact, k, 1, true, true);
      for (const int64_t rows_a_chunk : {1, 4, 100}) {
        const TopRows top = top_rows(c.hidden, c.head, softcap, c.batch, kVocab, k, {rows_a_chunk * kVocab * 4});
        EXPECT_TRUE(top.ids.equal(ids));
        EXPECT_LT((top.log_probs - values).abs().max().item<double>(), 1e-5);
        const Tensor outside = 1 - values.exp().sum(1);
        EXPECT_LT((top.tail - outside).abs().max().item<double>(), 1e-6);
        if (k == kVocab) EXPECT_EQ(top.tail.abs().max().item<double>(), 0);
      }
    }
  }
}

}  // namespace
}  // namespace prentice
