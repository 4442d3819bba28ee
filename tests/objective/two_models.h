// A student's and a teacher's hidden states and heads, of random numbers in f64, over one batch of which every third
// row has a label: what the tests of distillation begin with.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tanh.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <vector>

#include "core/batch.h"
#include "nn/linear.h"
#include "objective/distill.h"

namespace prentice {

// Every divergence, the generalised one at both ends and between.
struct DivergenceKind {
  const char* name;
  Divergence divergence;
  double beta = 0.5;
};

inline const std::vector<DivergenceKind> kDivergenceKinds = {{"forward_kl", Divergence::forward_kl},
                                                             {"reverse_kl", Divergence::reverse_kl},
                                                             {"jsd .5", Divergence::jsd, 0.5},
                                                             {"jsd .1", Divergence::jsd, 0.1},
                                                             {"jsd 0", Divergence::jsd, 0},
                                                             {"jsd 1", Divergence::jsd, 1},
                                                             {"tvd", Divergence::tvd},
                                                             {"cross_entropy", Divergence::cross_entropy}};

inline DistillOptions options_of(const DivergenceKind& kind, double temperature, double weight) {
  return {.divergence = kind.divergence, .beta = kind.beta, .temperature = temperature, .weight = weight};
}

struct TwoModels {
  static constexpr int64_t kTokens = 23, kHidden = 6, kTeacherHidden = 9, kVocab = 17, kRank = 2;
  Tensor hidden;  // a leaf
  Linear head;    // of leaves: weight, bias, adapter
  double softcap = 0;
  Tensor teacher_hidden;
  Linear teacher_head;
  double teacher_softcap = 0;
  Batch batch;
  Counts counts;

  std::vector<Tensor> leaves() const {
    std::vector<Tensor> all = {hidden, dense_weight(head)};
    if (head.bias.defined()) all.push_back(head.bias);
    if (head.lora) all.push_back(head.lora->a), all.push_back(head.lora->b);
    return all;
  }
};

inline Tensor random_leaf(at::IntArrayRef shape) { return at::randn(shape, at::kDouble).mul_(0.7).requires_grad_(); }

inline TwoModels two_models(bool with_extras = true) {
  using M = TwoModels;
  TwoModels m;
  m.hidden = random_leaf({M::kTokens, M::kHidden});
  m.head = {.weight = Dense{random_leaf({M::kVocab, M::kHidden})}};
  m.teacher_hidden = random_leaf({M::kTokens, M::kTeacherHidden}).detach();
  m.teacher_head = {.weight = Dense{random_leaf({M::kVocab, M::kTeacherHidden}).detach()}};
  if (with_extras) {
    m.head.bias = random_leaf({M::kVocab});
    m.head.lora = Lora{.a = random_leaf({M::kRank, M::kHidden}), .b = random_leaf({M::kVocab, M::kRank}), .scale = 1.5};
    m.softcap = 1.5, m.teacher_softcap = 2.5;
    m.teacher_head.bias = random_leaf({M::kVocab}).detach();
  }
  m.batch.target_rows = at::arange(1, M::kTokens, 3, at::kLong);
  const int64_t count = m.batch.target_rows.size(0);
  m.batch.labels = at::full({M::kTokens}, kNoLabel, at::kLong);
  m.batch.labels.index_copy_(0, m.batch.target_rows, at::randint(M::kVocab, {count}, at::kLong));
  m.batch.weights = at::zeros({M::kTokens}, at::kFloat);
  m.batch.weights.index_copy_(0, m.batch.target_rows, at::arange(1, count + 1, at::kFloat).div_(8));  // exact in f32
  m.counts.tokens = 11;
  return m;
}

// Logits of the labelled rows, [N, V], by autograd.
inline Tensor plain_logits(const Tensor& hidden, const Linear& head, double softcap, const Batch& batch) {
  const Tensor rows = hidden.index_select(0, batch.target_rows);
  Tensor z = rows.matmul(dense_weight(head).t());
  if (head.lora) z = z + head.lora->scale * rows.matmul(head.lora->a.t()).matmul(head.lora->b.t());
  if (head.bias.defined()) z = z + head.bias;
  return softcap > 0 ? softcap * at::tanh(z / softcap) : z;
}

inline Tensor student_logits(const TwoModels& m) { return plain_logits(m.hidden, m.head, m.softcap, m.batch); }
inline Tensor teacher_logits(const TwoModels& m) {
  return plain_logits(m.teacher_hidden, m.teacher_head, m.teacher_softcap, m.batch);
}

// Sum over rows of weight * value / tokens.
inline Tensor plain_share(const TwoModels& m, const Tensor& values) {
  return values.dot(m.batch.weights.index_select(0, m.batch.target_rows).to(values.scalar_type())) / m.counts.tokens;
}

inline Tensor plain_cross_entropy(const TwoModels& m) {
  const Tensor labels = m.batch.labels.index_select(0, m.batch.target_rows).unsqueeze(1);
  return -at::log_softmax(student_logits(m), 1).gather(1, labels).squeeze(1);
}

inline std::vector<Tensor> gradients_of(const TwoModels& m, const Tensor& loss) {
  loss.backward();
  std::vector<Tensor> grads;
  for (Tensor& leaf : m.leaves()) {
    grads.push_back(leaf.grad().defined() ? leaf.grad().clone() : at::zeros_like(leaf));
    leaf.mutable_grad() = Tensor();
  }
  return grads;
}

inline double distance(const Tensor& found, const Tensor& wanted) {
  const Tensor a = found.detach().to(at::kDouble), b = wanted.detach().to(at::kDouble);
  return ((a - b).norm() / b.norm().clamp_min(1e-300)).item<double>();
}

}  // namespace prentice
