#include "objective/cross_entropy.h"

#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <ATen/ops/isnan.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include "core/error.h"
#include "kernels/dropout.h"
#include "objective/token_log_probs.h"

namespace prentice {
namespace {

constexpr int64_t kTokens = 23, kHidden = 12, kVocab = 37, kRank = 3;

struct Case {
  Tensor hidden;
  Linear head;
  Batch batch;
  Counts counts;
};

// Random numbers with every third row labelled and weights in (0, 1).
Case make_case(bool bias, bool lora, c10::ScalarType type = at::kDouble) {
  at::manual_seed(7);
  Case c;
  const auto leaf = [&](at::IntArrayRef shape) {
    return at::randn(shape, at::kDouble).mul_(0.5).to(type).requires_grad_();
  };
  c.hidden = leaf({kTokens, kHidden});
  c.head = {
      .name = "lm_head", .weight = Dense{leaf({kVocab, kHidden})}, .in_features = kHidden, .out_features = kVocab};
  if (bias) c.head.bias = leaf({kVocab});
  if (lora) c.head.lora = Lora{.a = leaf({kRank, kHidden}), .b = leaf({kVocab, kRank}), .scale = 1.75, .module = 3};
  c.batch.labels = at::full({kTokens}, kNoLabel, at::kLong);
  c.batch.target_rows = at::arange(1, kTokens, 3, at::kLong);
  const int64_t count = c.batch.target_rows.size(0);
  c.batch.labels.index_copy_(0, c.batch.target_rows, at::randint(kVocab, {count}, at::kLong));
  c.batch.weights = at::zeros({kTokens}, at::kFloat);
  c.batch.weights.index_copy_(0, c.batch.target_rows, at::arange(1, count + 1, at::kFloat).div_(count));
  c.batch.positions = at::arange(kTokens, at::kLong);
  c.batch.sequence_id = at::zeros({kTokens}, at::kInt);
  c.batch.sample_key = at::full({1}, 5, at::kLong);
  c.counts.tokens = 11;
  return c;
}

Tensor plain_logits(const Case& c, double softcap, const Tensor& adapter_input) {
  Tensor z = c.hidden.matmul(dense_weight(c.head).t());
  if (c.head.lora) z = z + c.head.lora->scale * adapter_input.matmul(c.head.lora->a.t()).matmul(c.head.lora->b.t());
  if (c.head.bias.defined()) z = z + c.head.bias;
  return softcap > 0 ? softcap * at::tanh(z / softcap) : z;
}

// The definition, over all [T, V] logits.
Tensor plain_share(const Case& c, double softcap, const Tensor& adapter_input) {
  const Tensor rows = c.batch.target_rows;
  const Tensor log_p = at::log_softmax(plain_logits(c, softcap, adapter_input), 1).index_select(0, rows);
  const Tensor picked = log_p.gather(1, c.batch.labels.index_select(0, rows).unsqueeze(1)).squeeze(1);
  return -(picked * c.batch.weights.index_select(0, rows)).sum() / c.counts.tokens;
}

std::vector<Tensor> leaves(const Case& c) {
  std::vector<Tensor> tensors = {c.hidden, dense_weight(c.head)};
  if (c.head.bias.defined()) tensors.push_back(c.head.bias);
  if (c.head.lora) tensors.push_back(c.head.lora->a), tensors.push_back(c.head.lora->b);
  return tensors;
}

std::vector<Tensor> gradients(const Case& c, const Tensor& loss) {
  loss.backward();
  std::vector<Tensor> grads;
  for (Tensor& leaf : leaves(c)) {
    grads.push_back(leaf.grad().defined() ? leaf.grad().clone() : at::zeros(leaf.sizes(), leaf.options()));
    leaf.mutable_grad() = Tensor();
  }
  return grads;
}

double relative(const Tensor& a, const Tensor& b) {
  return ((a.to(at::kDouble) - b.to(at::kDouble)).norm() / b.to(at::kDouble).norm()).item<double>();
}

constexpr int64_t kOneRow = 1, kThreeRows = kVocab * 8 * 3;

TEST(CrossEntropy, LossAndEveryGradientEqualThePlainComputation) {
  for (const bool bias : {false, true}) {
    for (const bool lora : {false, true}) {
      for (const double softcap : {0.0, 1.5}) {
        for (const int64_t bytes : {int64_t{0}, kOneRow, kThreeRows}) {
          const Case c = make_case(bias, lora);
          const Tensor want = plain_share(c, softcap, c.hidden);
          const Tensor got = cross_entropy_share(c.hidden, c.head, softcap, c.batch, c.counts, {}, {bytes});
          SCOPED_TRACE(testing::Message()
                       << "bias " << bias << " lora " << lora << " cap " << softcap << " bytes " << bytes);
          EXPECT_NEAR(got.item<double>(), want.item<double>(), 1e-12);
          // An upstream factor must pass through.
          const auto want_grads = gradients(c, want * 3), got_grads = gradients(c, got * 3);
          for (size_t i = 0; i < want_grads.size(); ++i) EXPECT_LT(relative(got_grads[i], want_grads[i]), 1e-9) << i;
        }
      }
    }
  }
}

TEST(CrossEntropy, RowsWithoutALabelAreNeverRead) {
  Case c = make_case(false, true);
  const double clean = cross_entropy_share(c.hidden, c.head, 0, c.batch, c.counts).item<double>();
  Tensor keep = at::zeros({kTokens, 1}, at::kBool);
  keep.index_fill_(0, c.batch.target_rows, true);
  c.hidden = at::where(keep, c.hidden.detach(), at::full({}, NAN, at::kDouble)).requires_grad_();
  const Tensor loss = cross_entropy_share(c.hidden, c.head, 0, c.batch, c.counts);
  EXPECT_EQ(loss.item<double>(), clean);
  for (const Tensor& grad : gradients(c, loss)) EXPECT_FALSE(at::isnan(grad).any().item<bool>());
}

TEST(CrossEntropy, PaddedRowsOfWeightZeroChangeNothing) {
  Case c = make_case(true, false);
  const Tensor plain = cross_entropy_share(c.hidden, c.head, 0, c.batch, c.counts);
  const auto want = gradients(c, plain);
  Case padded = c;  // rows 0 and 2 carry no label; row 1 stands there a second time would count twice
  padded.batch.target_rows = at::cat({c.batch.target_rows, at::tensor({0, 2, 0}, at::kLong)});
  const Tensor loss = cross_entropy_share(padded.hidden, padded.head, 0, padded.batch, padded.counts);
  EXPECT_NEAR(loss.item<double>(), plain.item<double>(), 1e-14);
  const auto got = gradients(padded, loss);
  for (size_t i = 0; i < want.size(); ++i) EXPECT_LT(relative(got[i], want[i]), 1e-12);
}

TEST(CrossEntropy, SharesOfMicroBatchesAddUp) {
  const Case c = make_case(false, false);
  const auto want = gradients(c, cross_entropy_share(c.hidden, c.head, 0, c.batch, c.counts));
  Case first = c, second = c;
  first.batch.target_rows = c.batch.target_rows.narrow(0, 0, 2);
  second.batch.target_rows = c.batch.target_rows.narrow(0, 2, c.batch.target_rows.size(0) - 2);
  const Tensor sum = cross_entropy_share(c.hidden, c.head, 0, first.batch, c.counts) +
                     cross_entropy_share(c.hidden, c.head, 0, second.batch, c.counts);
  const auto got = gradients(c, sum);
  for (size_t i = 0; i < want.size(); ++i) EXPECT_LT(relative(got[i], want[i]), 1e-12);
}

TEST(CrossEntropy, ABatchWithoutLabelsGivesZero) {
  Case c = make_case(true, true);
  c.batch.target_rows = at::zeros({0}, at::kLong);
  const Tensor loss = cross_entropy_share(c.hidden, c.head, 0, c.batch, c.counts);
  EXPECT_EQ(loss.item<double>(), 0);
  for (const Tensor& grad : gradients(c, loss)) EXPECT_EQ(grad.norm().item<double>(), 0);
}

TEST(CrossEntropy, ATiedEmbeddingGetsBothGradients) {
  Case c = make_case(false, false);
  const Tensor embed = dense_weight(c.head), ids = at::arange(kTokens, at::kLong);
  const auto run = [&](bool ours) {
    c.hidden = embed.index_select(0, ids).tanh();
    (ours ? cross_entropy_share(c.hidden, c.head, 0, c.batch, c.counts) : plain_share(c, 0, c.hidden)).backward();
    const Tensor grad = embed.grad().clone();
    Tensor(embed).mutable_grad() = Tensor();
    return grad;
  };
  EXPECT_LT(relative(run(true), run(false)), 1e-12);
}

TEST(CrossEntropy, AFrozenHeadGetsNoGradient) {
  Case c = make_case(true, true);
  for (Tensor tensor : {dense_weight(c.head), c.head.bias, c.head.lora->a, c.head.lora->b})
    tensor.requires_grad_(false);
  cross_entropy_share(c.hidden, c.head, 0, c.batch, c.counts).backward();
  EXPECT_TRUE(c.hidden.grad().defined());
  EXPECT_FALSE(dense_weight(c.head).grad().defined());
  EXPECT_FALSE(c.head.lora->b.grad().defined());
}

TEST(CrossEntropy, ADisabledAdapterDoesNotCount) {
  Case with = make_case(false, true), without = make_case(false, true);
  with.head.lora->enabled = false;
  without.head.lora.reset();
  EXPECT_EQ(cross_entropy_share(with.hidden, with.head, 0, with.batch, with.counts).item<double>(),
            cross_entropy_share(without.hidden, without.head, 0, without.batch, without.counts).item<double>());
}

TEST(CrossEntropy, DropoutOnTheHeadsAdapterUsesTheMaskOfTheWholeBatch) {
  Case c = make_case(false, true);
  c.head.lora->dropout = 0.4;
  const ForwardOptions options{.training = true, .seed = 99, .step = 6};
  const Tensor mask = apply_dropout(at::full({kTokens, kHidden}, 1, at::kDouble),
                                    {99, 6, 3, 0.4, c.batch.sample_key, c.batch.sequence_id, c.batch.positions});
  const Tensor want = plain_share(c, 0, c.hidden * mask);
  const Tensor got = cross_entropy_share(c.hidden, c.head, 0, c.batch, c.counts, options);
  EXPECT_NEAR(got.item<double>(), want.item<double>(), 1e-12);
  const auto want_grads = gradients(c, want), got_grads = gradients(c, got);
  for (size_t i = 0; i < want_grads.size(); ++i) EXPECT_LT(relative(got_grads[i], want_grads[i]), 1e-9) << i;
}

TEST(CrossEntropy, Bf16HiddenStatesKeepF32SoftmaxAndF32WeightGradients) {
  const Case exact = make_case(false, true);
  const auto want = gradients(exact, plain_share(exact, 0, exact.hidden));
  Case c = make_case(false, true);
  c.hidden = c.hidden.detach().to(at::kBFloat16).requires_grad_();
  c.head.weight = Dense{dense_weight(c.head).detach().to(at::kFloat).requires_grad_()};
  c.head.lora->a = c.head.lora->a.detach().to(at::kFloat).requires_grad_();
  c.head.lora->b = c.head.lora->b.detach().to(at::kFloat).requires_grad_();
  const Tensor loss = cross_entropy_share(c.hidden, c.head, 0, c.batch, c.counts, {}, {kThreeRows});
  EXPECT_EQ(loss.scalar_type(), at::kFloat);
  EXPECT_NEAR(loss.item<double>(), plain_share(exact, 0, exact.hidden).item<double>(), 2e-2);
  const auto got = gradients(c, loss);
  EXPECT_EQ(got[0].scalar_type(), at::kBFloat16);
  EXPECT_EQ(got[1].scalar_type(), at::kFloat);
  for (size_t i = 0; i < want.size(); ++i) EXPECT_LT(relative(got[i], want[i]), 2e-2) << i;
}

TEST(CrossEntropy, F32DiffersFromF64ByRoundingOnly) {
  const Case exact = make_case(true, true);
  Case c = make_case(true, true, at::kFloat);
  const Tensor loss = cross_entropy_share(c.hidden, c.head, 1.5, c.batch, c.counts);
  EXPECT_NEAR(loss.item<double>(), plain_share(exact, 1.5, exact.hidden).item<double>(), 1e-6);
  const auto want = gradients(exact, plain_share(exact, 1.5, exact.hidden)), got = gradients(c, loss);
  for (size_t i = 0; i < want.size(); ++i) EXPECT_LT(relative(got[i], want[i]), 1e-5) << i;
}

TEST(CrossEntropy, CountsWithoutTokensAreAProgrammersMistake) {
  const Case c = make_case(false, false);
  EXPECT_THROW(cross_entropy_share(c.hidden, c.head, 0, c.batch, Counts{}), Error);
}

TEST(LabelLogProbs, EqualThePlainComputationForAnyChunk) {
  const Case c = make_case(true, true);
  const Tensor rows = c.batch.target_rows;
  const Tensor want = at::log_softmax(plain_logits(c, 1.5, c.hidden), 1)
                          .index_select(0, rows)
                          .gather(1, c.batch.labels.index_select(0, rows).unsqueeze(1))
                          .squeeze(1);
  for (const int64_t bytes : {int64_t{0}, kOneRow, kThreeRows}) {
    const Tensor got = label_log_probs(c.hidden, c.head, 1.5, c.batch, {bytes});
    EXPECT_FALSE(got.requires_grad());
    EXPECT_LT(relative(got, want), 1e-12);
  }
}

// log p of the labels by autograd over all [T, V] logits.
Tensor plain_log_probs(const Case& c, double softcap, const Tensor& adapter_input) {
  const Tensor rows = c.batch.target_rows;
  return at::log_softmax(plain_logits(c, softcap, adapter_input), 1)
      .index_select(0, rows)
      .gather(1, c.batch.labels.index_select(0, rows).unsqueeze(1))
      .squeeze(1);
}

// A loss in which the factor of one row depends on the others, as in preference losses.
Tensor coupled(const Tensor& log_probs) {
  const int64_t half = log_probs.size(0) / 2;
  return log_probs.narrow(0, 0, half).sum().sub(log_probs.narrow(0, half, half).sum()).sigmoid().log().neg();
}

TEST(TokenLogProbs, TheirGradientsAreThoseOfTheWrittenOutForm) {
  for (const bool bias : {false, true}) {
    for (const bool lora : {false, true}) {
      for (const double softcap : {0.0, 1.5}) {
        for (const int64_t bytes : {int64_t{0}, kOneRow, kThreeRows}) {
          const Case c = make_case(bias, lora);
          const Tensor want = plain_log_probs(c, softcap, c.hidden);
          const Tensor got = token_log_probs(c.hidden, c.head, softcap, c.batch, {}, {bytes});
          SCOPED_TRACE(testing::Message()
                       << "bias " << bias << " lora " << lora << " cap " << softcap << " bytes " << bytes);
          EXPECT_LT(relative(got, want), 1e-12);
          const auto want_grads = gradients(c, coupled(want)), got_grads = gradients(c, coupled(got));
          for (size_t i = 0; i < want_grads.size(); ++i) EXPECT_LT(relative(got_grads[i], want_grads[i]), 1e-9) << i;
        }
      }
    }
  }
}

TEST(TokenLogProbs, DropoutOnTheHeadsAdapterIsThatOfTheCrossEntropy) {
  Case c = make_case(false, true);
  c.head.lora->dropout = 0.4;
  const ForwardOptions options{.training = true, .seed = 99, .step = 6};
  const Tensor weights = c.batch.weights.index_select(0, c.batch.target_rows) / c.counts.tokens;
  const Tensor got = -(token_log_probs(c.hidden, c.head, 0, c.batch, options) * weights).sum();
  const Tensor want = cross_entropy_share(c.hidden, c.head, 0, c.batch, c.counts, options);
  EXPECT_NEAR(got.item<double>(), want.item<double>(), 1e-7);  // the share's weights are f32
  const auto want_grads = gradients(c, want), got_grads = gradients(c, got);
  for (size_t i = 0; i < want_grads.size(); ++i) EXPECT_LT(relative(got_grads[i], want_grads[i]), 1e-6) << i;
}

TEST(TokenLogProbs, TypesOfGradientsAreThoseOfTheInputs) {
  Case c = make_case(true, true);
  c.hidden = c.hidden.detach().to(at::kBFloat16).requires_grad_();
  c.head.weight = Dense{dense_weight(c.head).detach().to(at::kBFloat16).requires_grad_()};
  const Tensor got = token_log_probs(c.hidden, c.head, 0, c.batch);
  EXPECT_EQ(got.scalar_type(), at::kFloat);
  got.sum().backward();
  for (const Tensor& leaf : leaves(c)) EXPECT_EQ(leaf.grad().scalar_type(), leaf.scalar_type());
}

TEST(TokenLogProbs, MemoryIsThatOfOneChunk) {
  constexpr int64_t rows = 2000, vocabulary = 20'000, chunk = int64_t{4} << 20;
  constexpr int64_t all_logits = rows * vocabulary * 4;
  Case c = make_case(false, false, at::kFloat);
  c.hidden = at::randn({rows, kHidden}).requires_grad_();
  c.head.weight = Dense{at::randn({vocabulary, kHidden})};
  c.batch.labels = at::randint(vocabulary, {rows}, at::kLong);
  c.batch.target_rows = at::arange(rows, at::kLong);
  const auto peak_bytes = [] {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return int64_t{usage.ru_maxrss} * 1024;
  };
  const int64_t before = peak_bytes();
  token_log_probs(c.hidden, c.head, 0, c.batch, {}, {chunk}).sum().backward();
  EXPECT_LT(peak_bytes() - before, all_logits / 4);
}

TEST(TokenLogProbs, FrozenHeadsGetNoGradient) {
  Case c = make_case(true, true);
  for (Tensor tensor : {dense_weight(c.head), c.head.bias, c.head.lora->a, c.head.lora->b})
    tensor.requires_grad_(false);
  token_log_probs(c.hidden, c.head, 1.5, c.batch).sum().backward();
  EXPECT_TRUE(c.hidden.grad().defined());
  EXPECT_FALSE(dense_weight(c.head).grad().defined());
}

TEST(LabelLogProbs, TinyProbabilitiesDoNotUnderflow) {
  Case c = make_case(false, false, at::kFloat);
  c.hidden = (c.hidden.detach() * 400).requires_grad_(false);
  const Tensor got = label_log_probs(c.hidden, c.head, 0, c.batch);
  EXPECT_TRUE(got.isfinite().all().item<bool>());
  EXPECT_LT(got.min().item<double>(), -200);
}

}  // namespace
}  // namespace prentice
