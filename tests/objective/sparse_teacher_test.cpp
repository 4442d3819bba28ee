#include "objective/sparse_teacher.h"

#include <ATen/ops/allclose.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/topk.h>
#include <gtest/gtest.h>

#include "objective/distill.h"
#include "objective/finite_differences.h"
#include "objective/sparse_rows.h"
#include "objective/two_models.h"

namespace prentice {
namespace {

// The k likeliest entries of rows of logits.
SparseTeacher likeliest(const Tensor& logits, int64_t k, TeacherTail convention = TeacherTail::event) {
  const Tensor log_q = at::log_softmax(logits.detach(), 1);
  const auto [values, ids] = at::topk(log_q, k, 1);
  const Tensor counts = at::full({logits.size(0)}, k, at::kLong);
  return {ids, values, counts, tail_of(values, counts), convention};
}

// Row i keeps 1 + i mod k entries; what stands behind them is rubbish.
SparseTeacher ragged(const Tensor& logits, int64_t k, TeacherTail convention = TeacherTail::event) {
  SparseTeacher teacher = likeliest(logits, k, convention);
  teacher.counts = at::arange(logits.size(0), at::kLong).remainder(k).add(1);
  for (int64_t row = 0; row < logits.size(0); ++row) {
    const int64_t count = teacher.counts[row].item<int64_t>();
    teacher.ids[row].narrow(0, count, k - count).fill_(-7);
    teacher.log_probs[row].narrow(0, count, k - count).fill_(NAN);
  }
  teacher.tail = tail_of(teacher.log_probs, teacher.counts);
  return teacher;
}

DistillShare share_of(const TwoModels& m, const SparseTeacher& teacher, const DistillOptions& options,
                      int64_t bytes = 0) {
  return distill_share(m.hidden, m.head, m.softcap, m.batch, m.counts, teacher, options, {}, {bytes});
}

// The definitions row by row over plain lists of events, by autograd.
Tensor plain_row(const DivergenceKind& kind, const Tensor& log_p, const Tensor& log_q, bool whole,
                 const Tensor& missing) {
  const Tensor p = log_p.exp(), q = log_q.exp();
  const double beta = kind.beta;
  const Tensor forward = (q * (log_q - log_p)).sum(), reverse = (p * (log_p - log_q)).sum();
  switch (kind.divergence) {
    case Divergence::forward_kl:
      return forward;
    case Divergence::reverse_kl:
      return reverse;
    case Divergence::cross_entropy:
      return -(q * log_p).sum();
    case Divergence::tvd:
      return 0.5 * ((p - q).abs().sum() + (whole ? 0 * missing : missing));
    case Divergence::jsd:
      break;
  }
  if (beta == 0) return forward;
  if (beta == 1) return reverse;
  const Tensor log_m = ((1 - beta) * p + beta * q).log();
  const Tensor value = beta * (q * (log_q - log_m)).sum() + (1 - beta) * (p * (log_p - log_m)).sum();
  return whole ? value : value - (1 - beta) * std::log(1 - beta) * missing;
}

Tensor plain_sparse(const DivergenceKind& kind, const Tensor& logits, const SparseTeacher& teacher,
                    double temperature) {
  std::vector<Tensor> rows;
  for (int64_t row = 0; row < logits.size(0); ++row) {
    const int64_t count = teacher.counts[row].item<int64_t>();
    const Tensor ids = teacher.ids[row].narrow(0, 0, count), log_q = teacher.log_probs[row].narrow(0, 0, count);
    Tensor value;
    if (teacher.convention == TeacherTail::event) {
      const Tensor log_p = at::log_softmax(logits[row], 0).index_select(0, ids);
      const Tensor rest = (1 - log_p.exp().sum()).log().unsqueeze(0), tail = teacher.tail[row].log().unsqueeze(0);
      value = plain_row(kind, at::log_softmax(at::cat({log_p, rest}) / temperature, 0),
                        at::log_softmax(at::cat({log_q, tail}) / temperature, 0), true, tail);
    } else {
      const Tensor log_p = at::log_softmax(logits[row] / temperature, 0).index_select(0, ids);
      value = plain_row(kind, log_p, at::log_softmax(log_q / temperature, 0), false, 1 - log_p.exp().sum());
    }
    rows.push_back(value.reshape({1}) * temperature * temperature);
  }
  return at::cat(rows);
}

TEST(SparseTeacher, TwoEntriesHaveTheirGoldenNumbersInBothConventions) {
  const Tensor student = at::tensor({1., .5, -.5, 2., 0., .1, .2, .3}, at::kDouble).view({2, 4});
  const Tensor teacher = at::tensor({2., 0., -1., 1., 1., 0., 0., -1.}, at::kDouble).view({2, 4});
  const Tensor ids = at::tensor({0, 3, 0, 1}, at::kLong).view({2, 2});  // of the tied ones the first
  const Tensor counts = at::full({2}, 2, at::kLong);
  for (const auto type : {at::kDouble, at::kFloat}) {
    const Tensor log_q = at::log_softmax(teacher, 1).gather(1, ids).to(type);
    const SparseTeacher zero{ids, log_q, counts, {}, TeacherTail::renormalize},
        event{ids, log_q, counts, tail_of(log_q, counts)};
    const double tolerance = type == at::kDouble ? 1e-9 : 1e-5 * 0.26;
    for (const bool gradients : {false, true}) {
      const auto values = [&](const SparseTeacher& of) {
        Tensor p = at::log_softmax(student.to(type), 1);
        return sparse_divergences(of, Divergence::forward_kl, 0, 1, p, gradients);
      };
      EXPECT_NEAR(values(zero)[0].item<double>(), 0.663530435243, tolerance);
      EXPECT_NEAR(values(zero)[1].item<double>(), 0.933438278430, tolerance);
      EXPECT_NEAR(values(event)[0].item<double>(), 0.421915247727, tolerance);
      EXPECT_NEAR(values(event)[1].item<double>(), 0.261059269888, tolerance);
    }
  }
}

TEST(SparseTeacher, AllEntriesAreTheLiveTeacher) {
  const TwoModels m = two_models();
  const Tensor logits = teacher_logits(m);
  for (const TeacherTail convention : {TeacherTail::event, TeacherTail::renormalize}) {
    const SparseTeacher all = likeliest(logits, TwoModels::kVocab, convention);
    for (const DivergenceKind& kind : kDivergenceKinds) {
      for (const double temperature : {1.0, 2.0, 0.5}) {
        const DistillOptions options = options_of(kind, temperature, 0.7);
        const DistillShare live =
            distill_share(m.hidden, m.head, m.softcap, m.batch, m.counts,
                          LiveTeacher{m.teacher_hidden, m.teacher_head, m.teacher_softcap}, options);
        const DistillShare stored = share_of(m, all, options);
        EXPECT_NEAR(stored.loss.item<double>(), live.loss.item<double>(), 1e-12) << kind.name << " " << temperature;
        const auto of_live = gradients_of(m, live.loss), of_stored = gradients_of(m, stored.loss);
        for (size_t i = 0; i < of_live.size(); ++i) EXPECT_LT(distance(of_stored[i], of_live[i]), 1e-10) << kind.name;
      }
    }
  }
}

TEST(SparseTeacher, LossAndEveryGradientEqualThePlainComputationForAnyChunk) {
  const TwoModels m = two_models();
  for (const TeacherTail convention : {TeacherTail::event, TeacherTail::renormalize}) {
    const SparseTeacher teacher = ragged(teacher_logits(m), 5, convention);
    for (const DivergenceKind& kind : kDivergenceKinds) {
      for (const auto& [temperature, weight] : {std::pair{1.0, 0.5}, {2.0, 1.0}, {0.7, 0.3}}) {
        SCOPED_TRACE(testing::Message() << kind.name << " T " << temperature << " tail "
                                        << (convention == TeacherTail::event));
        const Tensor values = plain_sparse(kind, student_logits(m), teacher, temperature);
        const Tensor want = plain_share(m, weight * values + (1 - weight) * plain_cross_entropy(m));
        const auto want_grads = gradients_of(m, want);
        for (const int64_t bytes : {int64_t{0}, int64_t{1}, TwoModels::kVocab * 8 * int64_t{3}}) {
          const DistillShare got = share_of(m, teacher, options_of(kind, temperature, weight), bytes);
          EXPECT_NEAR(got.loss.item<double>(), want.item<double>(), 1e-12);
          const auto got_grads = gradients_of(m, got.loss);
          for (size_t i = 0; i < want_grads.size(); ++i) EXPECT_LT(distance(got_grads[i], want_grads[i]), 1e-9) << i;
        }
      }
    }
  }
}

TEST(SparseTeacher, GradientsAreFiniteDifferences) {
  const TwoModels m = two_models();
  for (const TeacherTail convention : {TeacherTail::event, TeacherTail::renormalize}) {
    const SparseTeacher teacher = ragged(teacher_logits(m), 5, convention);
    for (const DivergenceKind& kind : kDivergenceKinds) {
      const DistillOptions options = options_of(kind, 2, 0.7);
      expect_finite_differences([&] { return share_of(m, teacher, options).loss; }, m.leaves(), 1e-7, kind.name, 8);
    }
  }
}

// The difference of the conventions: renormalised entries teach a student that already agrees to forget the rest.
TEST(SparseTeacher, WithTheTailAStudentThatAgreesHasNothingToLearn) {
  const TwoModels m = two_models();
  const Tensor logits = student_logits(m);
  for (const DivergenceKind& kind : kDivergenceKinds) {
    if (kind.divergence == Divergence::cross_entropy || kind.divergence == Divergence::tvd)
      continue;  // entropy; a kink
    const DistillShare event = share_of(m, likeliest(logits, 4), options_of(kind, 2, 1));
    EXPECT_NEAR(event.loss.item<double>(), 0, 1e-13) << kind.name;
    for (const Tensor& grad : gradients_of(m, event.loss)) EXPECT_LT(grad.norm().item<double>(), 1e-13) << kind.name;
  }
  const DistillShare none =
      share_of(m, likeliest(logits, 4, TeacherTail::renormalize), options_of(kDivergenceKinds[0], 2, 1));
  EXPECT_GT(none.loss.item<double>(), 0.1);
}

// A stored teacher of a padded head: ids lie below the true vocabulary.
TEST(SparseTeacher, PaddedRowsOfTheStudentTakeNoPart) {
  TwoModels m = two_models(false);
  const SparseTeacher teacher = ragged(teacher_logits(m), 5);
  DistillOptions options = options_of(kDivergenceKinds[2], 2, 0.6);
  const double want = share_of(m, teacher, options).loss.item<double>();
  const Tensor& weight = dense_weight(m.head);
  m.head.weight = Dense{at::cat({weight.detach(), at::full({3, weight.size(1)}, 9, at::kDouble)})};
  options.vocab = TwoModels::kVocab;
  EXPECT_NEAR(share_of(m, teacher, options).loss.item<double>(), want, 1e-13);
}

TEST(SparseTeacher, F32DiffersFromF64ByRoundingOnlyEvenWithATinyTail) {
  TwoModels m = two_models(false);
  const Tensor logits = teacher_logits(m) * 6;  // most of the mass in a few entries
  const SparseTeacher exact = likeliest(logits, 12);
  EXPECT_LT(exact.tail.min().item<double>(), 1e-7);
  for (const DivergenceKind& kind : kDivergenceKinds) {
    const DistillOptions options = options_of(kind, 2, 1);
    const DistillShare want = share_of(m, exact, options);
    const auto want_grads = gradients_of(m, want.loss);
    TwoModels narrow = m;
    narrow.hidden = m.hidden.detach().to(at::kFloat).requires_grad_();
    narrow.head.weight = Dense{dense_weight(m.head).detach().to(at::kFloat).requires_grad_()};
    SparseTeacher stored = exact;
    stored.ids = exact.ids.to(at::kInt), stored.counts = exact.counts.to(at::kInt);
    stored.log_probs = exact.log_probs.to(at::kFloat), stored.tail = exact.tail.to(at::kFloat);
    const DistillShare got = share_of(narrow, stored, options);
    EXPECT_LT(distance(got.loss, want.loss), 1e-5) << kind.name;
    const auto got_grads = gradients_of(narrow, got.loss);
    for (size_t i = 0; i < want_grads.size(); ++i) EXPECT_LT(distance(got_grads[i], want_grads[i]), 1e-5) << kind.name;
  }
}

// What is cut later is as if it had never been written.
TEST(SparseTeacher, EntriesThatAreCutJoinTheTail) {
  const TwoModels m = two_models();
  const Tensor logits = teacher_logits(m);
  const SparseTeacher wide = likeliest(logits, 9), expected = likeliest(logits, 4), kept = keep_likeliest(wide, 4);
  EXPECT_TRUE(kept.ids.equal(expected.ids));
  EXPECT_TRUE(kept.counts.equal(expected.counts));
  EXPECT_TRUE(at::allclose(kept.log_probs, expected.log_probs, 0, 1e-12));
  EXPECT_TRUE(at::allclose(kept.tail, expected.tail, 0, 1e-12));
  const SparseTeacher whole = likeliest_entries(at::log_softmax(logits, 1), 4);
  EXPECT_TRUE(whole.ids.equal(expected.ids));
  EXPECT_TRUE(at::allclose(whole.tail, expected.tail, 0, 1e-12));
  // Rows that have fewer stay as they are, whatever stands behind their entries.
  const SparseTeacher uneven = ragged(logits, 5), cut = keep_likeliest(uneven, 3);
  for (int64_t row = 0; row < logits.size(0); ++row) {
    const int64_t count = std::min<int64_t>(3, uneven.counts[row].item<int64_t>());
    EXPECT_EQ(cut.counts[row].item<int64_t>(), count);
    EXPECT_TRUE(cut.ids[row].narrow(0, 0, count).equal(likeliest(logits, 3).ids[row].narrow(0, 0, count)));
    const double mass = cut.log_probs[row].narrow(0, 0, count).exp().sum().item<double>();
    EXPECT_NEAR(mass + cut.tail[row].item<double>(), 1, 1e-12);
  }
}

TEST(SparseTeacher, ALiveTeacherThatIsCutIsAStore) {
  for (const auto& kind : kDivergenceKinds) {
    for (const TeacherTail tail : {TeacherTail::event, TeacherTail::renormalize}) {
      const TwoModels m = two_models();
      DistillOptions options = options_of(kind, 1.7, 0.6);
      options.top_k = 5, options.tail = tail;
      const auto live = distill_share(m.hidden, m.head, m.softcap, m.batch, m.counts,
                                      LiveTeacher{m.teacher_hidden, m.teacher_head, m.teacher_softcap}, options);
      const auto stored = share_of(m, likeliest(teacher_logits(m), 5, tail), options);
      EXPECT_NEAR(live.loss.item<double>(), stored.loss.item<double>(), 1e-12) << kind.name;
      EXPECT_NEAR(live.top_k_mass.item<double>(), stored.top_k_mass.item<double>(), 1e-12) << kind.name;
      const auto of_live = gradients_of(m, live.loss), of_stored = gradients_of(m, stored.loss);
      for (size_t i = 0; i < of_live.size(); ++i) EXPECT_LT(distance(of_live[i], of_stored[i]), 1e-10) << kind.name;
    }
  }
}

}  // namespace
}  // namespace prentice
