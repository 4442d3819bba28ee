// The head's loss with kinds of adapters that plain factors do not cover: DoRA's magnitude, PiSSA switched off; and
// with a weight that is held in blocks.
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include <cstring>

#include "nn/dora.h"
#include "objective/cross_entropy.h"
#include "objective/token_log_probs.h"
#include "quant/encode.h"

namespace prentice {
namespace {

constexpr int64_t kTokens = 9, kHidden = 6, kVocab = 17, kRank = 3;

struct Case {
  Tensor hidden;
  Linear head;
  Batch batch;
};

Tensor leaf(at::IntArrayRef shape) { return at::randn(shape, at::kDouble).mul_(0.5).requires_grad_(); }

Case make_case() {
  at::manual_seed(11);
  Case c{.hidden = leaf({kTokens, kHidden})};
  c.head = {.name = "lm_head",
            .weight = Dense{leaf({kVocab, kHidden}).detach()},
            .bias = leaf({kVocab}).detach(),
            .in_features = kHidden,
            .out_features = kVocab};
  c.head.lora = Lora{.a = leaf({kRank, kHidden}), .b = leaf({kVocab, kRank}), .scale = 1.5};
  c.batch.labels = at::randint(kVocab, {kTokens}, at::kLong);
  c.batch.target_rows = at::arange(kTokens, at::kLong);
  c.batch.weights = at::arange(1, kTokens + 1, at::kFloat);
  return c;
}

Tensor share(const Case& c) {
  return cross_entropy_share(c.hidden, c.head, 0, c.batch, {.tokens = 5}, {.training = true});
}

Tensor share_of(const Case& c, const Tensor& logits) {
  const Tensor picked = at::log_softmax(logits, 1).gather(1, c.batch.labels.unsqueeze(1)).squeeze(1);
  return -(picked * c.batch.weights.to(at::kDouble)).sum() / 5;
}

double difference(const Tensor& found, const Tensor& wanted) {
  return ((found - wanted).norm() / wanted.norm()).item<double>();
}

TEST(HeadKinds, AMagnitudeOnTheHeadHasTheLossAndGradientsOfTheWrittenOutForm) {
  Case c = make_case();
  Lora& lora = *c.head.lora;
  lora.row_squares = row_squares(dense_weight(c.head));
  lora.magnitude = leaf({kVocab});
  const Tensor& weight = dense_weight(c.head);
  const Tensor product = c.hidden.matmul(weight.t()) + lora.scale * c.hidden.matmul(lora.a.t()).matmul(lora.b.t());
  const Tensor whole = (weight + lora.scale * lora.b.matmul(lora.a)).detach();
  const Tensor gain = lora.magnitude / at::linalg_vector_norm(whole, 2, at::IntArrayRef{1}, false);
  const Tensor wanted = share_of(c, product * gain + c.head.bias), found = share(c);
  EXPECT_LT(difference(found.detach(), wanted.detach()), 1e-12);
  const std::vector<Tensor> leaves = {c.hidden, lora.a, lora.b, lora.magnitude};
  std::vector<Tensor> gradients;
  found.backward();
  for (const Tensor& tensor : leaves) gradients.push_back(tensor.grad().clone()), tensor.mutable_grad().zero_();
  wanted.backward();
  for (size_t i = 0; i < leaves.size(); ++i) EXPECT_LT(difference(gradients[i], leaves[i].grad()), 1e-12) << i;
}

TEST(HeadKinds, PissaSwitchedOffIsTheModelAsItCame) {
  Case c = make_case();
  Lora& lora = *c.head.lora;
  lora.first_a = leaf({kRank, kHidden}).detach(), lora.first_b = leaf({kVocab, kRank}).detach();
  lora.enabled = false;
  const Tensor weight = dense_weight(c.head) + lora.scale * lora.first_b.matmul(lora.first_a);
  const Tensor wanted = share_of(c, c.hidden.matmul(weight.t()) + c.head.bias);
  EXPECT_LT(difference(share(c).detach(), wanted.detach()), 1e-12);
}

// Slices of the vocabulary, with a remainder, and every gradient that there is.
TEST(HeadKinds, AHeadInBlocksHasTheLossAndGradientsOfItsValues) {
  constexpr int64_t kWide = 8192, kMany = 4100;
  at::manual_seed(12);
  GgufBlocks blocks = make_gguf_blocks(kMany, kWide, GgmlType::Q4_0, at::TensorOptions(at::kDouble));
  std::vector<std::byte> bytes;
  const Tensor drawn = at::randn({kMany, kWide}).mul_(0.02);
  encode({drawn.const_data_ptr<float>(), static_cast<size_t>(drawn.numel())}, blocks.block, bytes);
  std::memcpy(blocks.bytes.mutable_data_ptr(), bytes.data(), bytes.size());
  Case c = make_case();
  c.hidden = leaf({kTokens, kWide});
  c.head = {.name = "lm_head", .weight = blocks, .in_features = kWide, .out_features = kMany};
  c.head.lora = Lora{.a = leaf({kRank, kWide}), .b = leaf({kMany, kRank}), .scale = 0.1};
  const std::vector<Tensor> leaves = {c.hidden, c.head.lora->a, c.head.lora->b};
  const Tensor found = share(c);
  found.backward();
  std::vector<Tensor> gradients;
  for (const Tensor& tensor : leaves) gradients.push_back(tensor.grad().clone()), tensor.mutable_grad().zero_();
  c.head.weight = Dense{weight_values(c.head).clone()};
  const Tensor wanted = share(c);
  wanted.backward();
  EXPECT_LT(difference(found.detach(), wanted.detach()), 1e-12);
  for (size_t i = 0; i < leaves.size(); ++i) EXPECT_LT(difference(gradients[i], leaves[i].grad()), 1e-11) << i;
  c.head.weight = blocks;
  const Tensor log_probs = token_log_probs(c.hidden, c.head, 0, c.batch, {.training = true});
  EXPECT_LT(difference(-(log_probs * c.batch.weights.to(at::kDouble)).sum().detach() / 5, wanted.detach()), 1e-12);
}

}  // namespace
}  // namespace prentice
