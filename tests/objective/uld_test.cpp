#include "objective/uld.h"

#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/sort.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "objective/finite_differences.h"
#include "objective/two_models.h"

namespace prentice {
namespace {

// The teacher's vocabulary is `vocab` large; its rows stand in another order, and two of the student's have none.
struct Case {
  TwoModels m;
  Tensor rows;
};

Case make_case(int64_t vocab) {
  Case c{.m = two_models()};
  c.m.teacher_head = {.weight = Dense{random_leaf({vocab, TwoModels::kTeacherHidden}).detach()}};
  c.rows = at::tensor({9, 2, -1, 4, 0, 22, -1, 7}, at::kLong);
  return c;
}

DistillShare share_of(const Case& c, const DistillOptions& options, int64_t bytes = 0, int64_t teacher_vocab = 0) {
  const UldTeacher teacher{c.m.teacher_hidden, c.m.teacher_head, c.m.teacher_softcap, c.rows, teacher_vocab};
  return uld_share(c.m.hidden, c.m.head, c.m.softcap, c.m.batch, c.m.counts, teacher, options, {}, {bytes});
}

Tensor sorted(const Tensor& logits, int64_t width) {
  const Tensor values = std::get<0>(at::sort(at::softmax(logits, 1), 1, /*descending=*/true));
  return at::constant_pad_nd(values, {0, width - values.size(1)});
}

// Every row in a loop over the definition, by autograd.
Tensor plain_loss(const Case& c, double temperature, double weight) {
  Batch rows_of_teacher = c.m.batch;
  rows_of_teacher.target_rows = c.rows.clamp_min(0);
  const Tensor teacher = plain_logits(c.m.teacher_hidden, c.m.teacher_head, c.m.teacher_softcap, rows_of_teacher);
  const Tensor student = student_logits(c.m);
  const int64_t width = std::max(teacher.size(1), student.size(1));
  const Tensor values = (sorted(student / temperature, width) - sorted(teacher / temperature, width)).abs().sum(1) *
                        c.rows.ge(0) * (temperature * temperature);
  return plain_share(c.m, weight * values + (1 - weight) * plain_cross_entropy(c.m));
}

TEST(Uld, LossAndEveryGradientEqualThePlainComputationForAnyChunk) {
  for (const int64_t vocab : {TwoModels::kVocab, TwoModels::kVocab - 6, TwoModels::kVocab + 9}) {
    const Case c = make_case(vocab);
    for (const auto& [temperature, weight] : {std::pair{1.0, 0.5}, {2.0, 1.0}}) {
      const Tensor want = plain_loss(c, temperature, weight);
      const auto want_grads = gradients_of(c.m, want);
      for (const int64_t bytes : {int64_t{0}, int64_t{1}, TwoModels::kVocab * 8 * int64_t{3}}) {
        SCOPED_TRACE(testing::Message() << vocab << " T " << temperature << " bytes " << bytes);
        const DistillShare got = share_of(c, {.temperature = temperature, .weight = weight}, bytes);
        EXPECT_NEAR(got.loss.item<double>(), want.item<double>(), 1e-12);
        const auto got_grads = gradients_of(c.m, got.loss);
        for (size_t i = 0; i < want_grads.size(); ++i) EXPECT_LT(distance(got_grads[i], want_grads[i]), 1e-9) << i;
      }
    }
  }
}

TEST(Uld, GradientsAreFiniteDifferences) {
  const Case c = make_case(TwoModels::kVocab + 9);
  const DistillOptions options{.temperature = 2, .weight = 0.7};
  expect_finite_differences([&] { return share_of(c, options).loss; }, c.m.leaves(), 1e-6, "uld", 12);
}

TEST(Uld, NamesOfTheIdsDoNotMatter) {
  const Case c = make_case(TwoModels::kVocab);
  Case renamed = c;
  renamed.m.teacher_head.weight = Dense{dense_weight(c.m.teacher_head).flip(0)};
  EXPECT_NEAR(share_of(renamed, {}).loss.item<double>(), share_of(c, {}).loss.item<double>(), 1e-14);
}

TEST(Uld, AStudentWithTheTeachersProbabilitiesUnderOtherIdsHasNoDivergence) {
  Case c = make_case(TwoModels::kVocab);
  c.m.head = {.weight = Dense{dense_weight(c.m.head).detach().requires_grad_()}};
  c.m.teacher_hidden = c.m.hidden.detach(), c.m.teacher_softcap = c.m.softcap;
  c.m.teacher_head = {.weight = Dense{dense_weight(c.m.head).detach().flip(0)}};
  c.rows = c.m.batch.target_rows;
  EXPECT_NEAR(share_of(c, {.weight = 1}).divergence.item<double>(), 0, 1e-14);
}

TEST(Uld, PaddedRowsOfEitherHeadTakeNoPart) {
  const Case c = make_case(TwoModels::kVocab + 2);
  Case cut = c;
  cut.m.teacher_head.weight = Dense{dense_weight(c.m.teacher_head).narrow(0, 0, TwoModels::kVocab)};
  EXPECT_NEAR(share_of(c, {.vocab = TwoModels::kVocab}, 0, TwoModels::kVocab).loss.item<double>(),
              share_of(cut, {}).loss.item<double>(), 1e-14);
}

}  // namespace
}  // namespace prentice
