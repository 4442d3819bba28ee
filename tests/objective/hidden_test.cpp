#include "objective/hidden.h"

#include <ATen/ops/mse_loss.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "objective/finite_differences.h"
#include "objective/two_models.h"

namespace prentice {
namespace {

TEST(Hidden, MeanSquareAndCosineAreMeansOverTheMaskedElements) {
  TwoModels m = two_models(false);
  m.batch.weights = m.batch.weights.gt(0).to(at::kFloat);
  m.counts.tokens = static_cast<double>(m.batch.target_rows.size(0));
  const Tensor projection = random_leaf({TwoModels::kTeacherHidden, TwoModels::kHidden});
  const Tensor student = m.hidden.index_select(0, m.batch.target_rows).matmul(projection.t());
  const Tensor teacher = m.teacher_hidden.index_select(0, m.batch.target_rows);
  const double mse = hidden_mse_share(m.hidden, m.teacher_hidden, projection, m.batch, m.counts).item<double>();
  EXPECT_NEAR(mse, at::mse_loss(student, teacher).item<double>(), 1e-12);
  double cosines = 0;
  for (int64_t row = 0; row < student.size(0); ++row) {
    cosines += (student[row].dot(teacher[row]) / (student[row].norm() * teacher[row].norm())).item<double>();
  }
  const double cosine = hidden_cosine_share(m.hidden, m.teacher_hidden, projection, m.batch, m.counts).item<double>();
  EXPECT_NEAR(cosine, 1 - cosines / m.counts.tokens, 1e-12);
}

TEST(Hidden, GradientsToTheStudentAndTheProjectionAreFiniteDifferences) {
  const TwoModels m = two_models(false);
  const Tensor projection = random_leaf({TwoModels::kTeacherHidden, TwoModels::kHidden});
  const std::vector<Tensor> leaves = {m.hidden, projection};
  for (auto* share : {&hidden_mse_share, &hidden_cosine_share}) {
    const auto loss = [&] { return share(m.hidden, m.teacher_hidden, projection, m.batch, m.counts); };
    expect_finite_differences(loss, leaves, 1e-7, share == &hidden_mse_share ? "mse" : "cosine");
  }
}

TEST(Hidden, EqualStatesHaveNoLossAndOtherRowsAreNotRead) {
  TwoModels m = two_models(false);
  Tensor teacher = m.hidden.detach().clone();
  teacher[0].fill_(NAN);  // row 0 has no label
  for (auto* share : {&hidden_mse_share, &hidden_cosine_share}) {
    const Tensor loss = share(m.hidden, teacher, {}, m.batch, m.counts);
    // The cosine's share misses sum w / tokens of 1 - 1.
    EXPECT_NEAR(loss.item<double>(), 0, 1e-14);
  }
}

TEST(Hidden, SharesOfMicroBatchesAddUp) {
  const TwoModels m = two_models(false);
  TwoModels first = m, second = m;
  first.batch.target_rows = m.batch.target_rows.narrow(0, 0, 3);
  second.batch.target_rows = m.batch.target_rows.narrow(0, 3, m.batch.target_rows.size(0) - 3);
  const Tensor teacher = m.hidden.detach().flip(0);
  for (auto* share : {&hidden_mse_share, &hidden_cosine_share}) {
    const Tensor sum =
        share(m.hidden, teacher, {}, first.batch, m.counts) + share(m.hidden, teacher, {}, second.batch, m.counts);
    EXPECT_NEAR(sum.item<double>(), share(m.hidden, teacher, {}, m.batch, m.counts).item<double>(), 1e-13);
  }
}

TEST(Hidden, AStateOfZerosHasFiniteGradients) {
  TwoModels m = two_models(false);
  m.hidden = at::zeros({TwoModels::kTokens, TwoModels::kHidden}, at::kDouble).requires_grad_();
  hidden_cosine_share(m.hidden, random_leaf(m.hidden.sizes()).detach(), {}, m.batch, m.counts).backward();
  EXPECT_EQ(m.hidden.grad().isnan().sum().item<int64_t>(), 0);
}

TEST(Hidden, WidthsThatDifferNeedAProjection) {
  const TwoModels m = two_models(false);
  EXPECT_THROW(hidden_mse_share(m.hidden, m.teacher_hidden, {}, m.batch, m.counts), Error);
}

}  // namespace
}  // namespace prentice
