// Fused attention against the written-out one, over batches of several sequences.
#include "nn/attention.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>

namespace prentice {
namespace {

// Relative to b, or to 1 where b is smaller: the gradients of a sequence of one token are zero.
double relative(const Tensor& a, const Tensor& b) {
  const auto norm = [](const Tensor& x) { return at::linalg_vector_norm(x.detach().to(at::kDouble)).item<double>(); };
  return norm(a.detach() - b.detach()) / std::max(norm(b), 1.0);
}

Batch batch_of(const std::vector<int64_t>& lengths) {
  Batch batch;
  batch.host_starts = {0};
  for (int64_t length : lengths) {
    batch.host_starts.push_back(batch.host_starts.back() + length);
    batch.longest = std::max(batch.longest, length);
  }
  return batch;
}

struct AttentionCase {
  std::vector<int64_t> lengths;
  int64_t heads, key_heads, width, window;
};
const AttentionCase kCases[] = {
    {{1}, 2, 2, 4, 0},         {{5, 1, 9}, 4, 4, 8, 0},   {{33, 70}, 6, 2, 16, 0},  {{600, 40}, 3, 1, 64, 0},
    {{12, 3, 20}, 4, 2, 8, 1}, {{12, 3, 20}, 4, 2, 8, 5}, {{40, 64}, 2, 1, 32, 64}, {{7, 0, 5}, 2, 1, 8, 0},
};

TEST(Attention, EqualsTheWrittenOutFormWithGradients) {
  for (const auto type : {at::kDouble, at::kFloat}) {
    const double tolerance = type == at::kDouble ? 1e-13 : 2e-6;
    for (const auto& c : kCases) {
      const Batch batch = batch_of(c.lengths);
      const int64_t tokens = batch.host_starts.back();
      const AttentionOptions options{.scale = 0.3, .window = c.window};
      std::vector<Tensor> qkv;
      for (int64_t heads : {c.heads, c.key_heads, c.key_heads}) {
        qkv.push_back(at::randn({tokens, heads, c.width}, type).set_requires_grad(true));
      }
      const Tensor found = attention(qkv[0], qkv[1], qkv[2], batch, options);
      const Tensor wanted = attention_reference(qkv[0], qkv[1], qkv[2], batch, options);
      ASSERT_EQ(found.sizes(), wanted.sizes());
      EXPECT_LT(relative(found, wanted), tolerance) << "window " << c.window << ", " << tokens << " tokens";
      const Tensor grad = at::randn(found.sizes(), type);
      const auto da = torch::autograd::grad({found}, qkv, {grad}), db = torch::autograd::grad({wanted}, qkv, {grad});
      for (size_t i = 0; i < 3; ++i) EXPECT_LT(relative(da[i], db[i]), 3 * tolerance) << "gradient " << i;
    }
  }
}

TEST(Attention, TakesHeadsInsideAWiderMatrix) {
  const Tensor joined = at::randn({10, 4 * 8 + 2 * 2 * 8}, at::kDouble);
  const auto part = [&](int64_t start, int64_t heads) {
    return joined.narrow(1, start, heads * 8).unflatten(1, {heads, 8});
  };
  const Batch batch = batch_of({4, 6});
  const AttentionOptions options{.scale = 0.5};
  EXPECT_LT(relative(attention(part(0, 4), part(32, 2), part(48, 2), batch, options),
                     attention_reference(part(0, 4), part(32, 2), part(48, 2), batch, options)),
            1e-13);
}

TEST(Attention, CachedQueriesSeeWhatTheFullPassSees) {
  for (const int64_t window : {0, 3, 50}) {
    for (const double softcap : {0.0, 2.0}) {
      const AttentionOptions options{.scale = 0.4, .window = window, .softcap = softcap};
      const Tensor q = at::randn({11, 4, 8}, at::kDouble), k = at::randn({11, 2, 8}, at::kDouble),
                   v = at::randn({11, 2, 8}, at::kDouble);
      const Tensor full = attention_reference(q, k, v, batch_of({11}), options);
      for (const int64_t last : {1, 2, 11}) {
        EXPECT_LT(
            relative(attention_cached(q.narrow(0, 11 - last, last), k, v, options), full.narrow(0, 11 - last, last)),
            1e-13)
            << "window " << window << ", last " << last;
      }
    }
  }
}

TEST(Attention, AWindowOfOneIsTheValueItself) {
  const Tensor q = at::randn({6, 2, 4}, at::kDouble), v = at::randn({6, 2, 4}, at::kDouble);
  EXPECT_LT(relative(attention(q, q, v, batch_of({6}), {.scale = 1, .window = 1}), v.flatten(1)), 1e-14);
}

}  // namespace
}  // namespace prentice
