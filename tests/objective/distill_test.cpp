#include "objective/distill.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include "core/error.h"
#include "objective/cross_entropy.h"
#include "objective/finite_differences.h"
#include "objective/two_models.h"

namespace prentice {
namespace {

// The definitions, by autograd.
Tensor plain_divergence(const DivergenceKind& kind, const Tensor& student_logits, const Tensor& teacher_logits) {
  const Tensor log_p = at::log_softmax(student_logits, 1), log_q = at::log_softmax(teacher_logits, 1);
  const Tensor p = log_p.exp(), q = log_q.exp();
  const double beta = kind.beta;
  switch (kind.divergence) {
    case Divergence::forward_kl:
      return (q * (log_q - log_p)).sum(1);
    case Divergence::reverse_kl:
      return (p * (log_p - log_q)).sum(1);
    case Divergence::tvd:
      return 0.5 * (p - q).abs().sum(1);
    case Divergence::cross_entropy:
      return -(q * log_p).sum(1);
    case Divergence::jsd:
      break;
  }
  if (beta == 0) return (q * (log_q - log_p)).sum(1);
  if (beta == 1) return (p * (log_p - log_q)).sum(1);
  const Tensor log_m = ((1 - beta) * p + beta * q).log();
  return beta * (q * (log_q - log_m)).sum(1) + (1 - beta) * (p * (log_p - log_m)).sum(1);
}

Tensor plain_loss(const TwoModels& m, const DivergenceKind& kind, double temperature, double weight) {
  const Tensor values = plain_divergence(kind, student_logits(m) / temperature, teacher_logits(m) / temperature) *
                        temperature * temperature;
  return plain_share(m, weight * values + (1 - weight) * plain_cross_entropy(m));
}

LiveTeacher teacher_of(const TwoModels& m) { return {m.teacher_hidden, m.teacher_head, m.teacher_softcap}; }

DistillShare share_of(const TwoModels& m, const DistillOptions& options, int64_t bytes = 0) {
  return distill_share(m.hidden, m.head, m.softcap, m.batch, m.counts, teacher_of(m), options, {}, {bytes});
}

constexpr int64_t kOneRow = 1, kThreeRows = TwoModels::kVocab * 8 * 3;

TEST(Divergence, EveryKindEqualsItsGoldenNumbers) {
  struct Golden {
    DivergenceKind kind;
    double of_one[2], of_two[2];  // rows 1 and 2 at temperatures 1 and 2
  };
  const std::vector<Golden> table = {
      {{"forward_kl", Divergence::forward_kl}, {0.421915247727, 0.297446885268}, {0.095898907863, 0.080530570609}},
      {{"reverse_kl", Divergence::reverse_kl}, {0.394542687750, 0.321265748583}, {0.089767775877, 0.082158740827}},
      {{"jsd .5", Divergence::jsd, 0.5}, {0.098012607700, 0.073371112315}, {0.022956033595, 0.020061220384}},
      {{"jsd .1", Divergence::jsd, 0.1}, {0.037120389500, 0.026507420308}, {0.008539742184, 0.007227530988}},
      {{"tvd", Divergence::tvd}, {0.424034618185, 0.320608425023}, {0.198636653603, 0.155881736172}},
  };
  const Tensor student = at::tensor({1., .5, -.5, 2., 0., .1, .2, .3}, at::kDouble).view({2, 4});
  const Tensor teacher = at::tensor({2., 0., -1., 1., 1., 0., 0., -1.}, at::kDouble).view({2, 4});
  for (const auto& [kind, of_one, of_two] : table) {
    for (const auto& [temperature, wanted] : {std::pair{1.0, of_one}, std::pair{2.0, of_two}}) {
      for (const auto type : {at::kDouble, at::kFloat}) {
        for (const bool gradients : {false, true}) {
          Tensor p = at::log_softmax(student.to(type) / temperature, 1);
          Tensor q = at::log_softmax(teacher.to(type) / temperature, 1);
          const Tensor values = divergence_rows(kind.divergence, kind.beta, p, q, gradients);
          for (int64_t row = 0; row < 2; ++row) {
            const double tolerance = type == at::kDouble ? 1e-9 : 1e-5 * wanted[row];
            EXPECT_NEAR(values[row].item<double>(), wanted[row], tolerance) << kind.name << " " << temperature;
          }
        }
      }
    }
  }
}

TEST(Distill, LossAndEveryGradientEqualThePlainComputationForAnyChunk) {
  for (const bool with_extras : {false, true}) {
    const TwoModels m = two_models(with_extras);
    for (const DivergenceKind& kind : kDivergenceKinds) {
      for (const auto& [temperature, weight] : {std::pair{1.0, 0.5}, {1.0, 1.0}, {2.0, 0.3}, {2.0, 1.0}, {0.5, 0.0}}) {
        const Tensor want = plain_loss(m, kind, temperature, weight);
        const auto want_grads = gradients_of(m, want * 3);
        for (const int64_t bytes : {int64_t{0}, kOneRow, kThreeRows}) {
          SCOPED_TRACE(testing::Message() << kind.name << " T " << temperature << " w " << weight << " bytes " << bytes
                                          << " extras " << with_extras);
          const DistillShare got = share_of(m, options_of(kind, temperature, weight), bytes);
          EXPECT_NEAR(got.loss.item<double>(), want.item<double>(), 1e-12);
          const auto got_grads = gradients_of(m, got.loss * 3);
          for (size_t i = 0; i < want_grads.size(); ++i) EXPECT_LT(distance(got_grads[i], want_grads[i]), 1e-9) << i;
        }
      }
    }
  }
}

TEST(Distill, GradientsAreFiniteDifferences) {
  const TwoModels m = two_models();
  for (const DivergenceKind& kind : kDivergenceKinds) {
    const DistillOptions options = options_of(kind, 2, 0.7);
    expect_finite_differences([&] { return share_of(m, options, kThreeRows).loss; }, m.leaves(), 1e-7, kind.name, 12);
  }
}

// With so large a vocabulary a chunk of all rows passes in blocks of a few.
TEST(Distill, BlocksOfAChunkChangeNothing) {
  TwoModels m = two_models(false);
  constexpr int64_t vocabulary = 160'000;
  m.head.weight = Dense{random_leaf({vocabulary, TwoModels::kHidden})};
  m.teacher_head.weight = Dense{random_leaf({vocabulary, TwoModels::kTeacherHidden}).detach()};
  const DistillOptions options = options_of(kDivergenceKinds[2], 2, 0.6);
  const DistillShare whole = share_of(m, options), alone = share_of(m, options, kOneRow);
  EXPECT_NEAR(whole.loss.item<double>(), alone.loss.item<double>(), 1e-12);
  EXPECT_NEAR(whole.loss.item<double>(), plain_loss(m, kDivergenceKinds[2], 2, 0.6).item<double>(), 1e-9);
  const auto of_whole = gradients_of(m, whole.loss), of_alone = gradients_of(m, alone.loss);
  for (size_t i = 0; i < of_whole.size(); ++i) EXPECT_LT(distance(of_whole[i], of_alone[i]), 1e-12);
}

TEST(Distill, PartsAreThoseOfTheLoss) {
  const TwoModels m = two_models();
  for (const double weight : {0.0, 0.3, 1.0}) {
    const DistillShare share = share_of(m, options_of(kDivergenceKinds[0], 2, weight));
    const double mixed = weight * share.divergence.item<double>() + (1 - weight) * share.cross_entropy.item<double>();
    EXPECT_NEAR(share.loss.item<double>(), mixed, 1e-12);
    EXPECT_FALSE(share.divergence.requires_grad());
    EXPECT_FALSE(share.cross_entropy.requires_grad());
    const Tensor labels = cross_entropy_share(m.hidden, m.head, m.softcap, m.batch, m.counts);
    EXPECT_NEAR(share.cross_entropy.item<double>(), labels.item<double>(), 1e-12);
  }
}

TEST(Distill, AStudentThatIsItsTeacherHasNothingToLearn) {
  TwoModels m = two_models();
  m.teacher_hidden = m.hidden.detach(), m.teacher_head = m.head, m.teacher_softcap = m.softcap;
  for (const DivergenceKind& kind : kDivergenceKinds) {
    if (kind.divergence == Divergence::cross_entropy || kind.divergence == Divergence::tvd)
      continue;  // entropy; a kink
    const DistillShare share = share_of(m, options_of(kind, 1.7, 1));
    EXPECT_NEAR(share.loss.item<double>(), 0, 1e-14) << kind.name;
    for (const Tensor& grad : gradients_of(m, share.loss)) EXPECT_LT(grad.norm().item<double>(), 1e-14) << kind.name;
  }
}

// Rows of rubbish behind the true vocabulary, more of the teacher's than of the student's.
TEST(Distill, PaddedRowsOfEitherHeadTakeNoPart) {
  for (const DivergenceKind& kind : kDivergenceKinds) {
    TwoModels m = two_models();
    DistillOptions options = options_of(kind, 2, 0.6);
    const DistillShare want = share_of(m, options);
    const auto want_grads = gradients_of(m, want.loss);
    const auto padded = [](const Tensor& t, int64_t rows) {
      auto sizes = t.sizes().vec();
      sizes[0] = rows;
      return at::cat({t.detach(), at::full(sizes, 9, t.options().requires_grad(false))})
          .requires_grad_(t.requires_grad());
    };
    m.head.weight = Dense{padded(dense_weight(m.head), 3)}, m.head.bias = padded(m.head.bias, 3);
    m.head.lora->b = padded(m.head.lora->b, 3);
    m.teacher_head.weight = Dense{padded(dense_weight(m.teacher_head), 8)};
    m.teacher_head.bias = padded(m.teacher_head.bias, 8);
    EXPECT_THROW(share_of(m, options), Error);
    options.vocab = TwoModels::kVocab;
    const DistillShare got = share_of(m, options, kThreeRows);
    EXPECT_NEAR(got.loss.item<double>(), want.loss.item<double>(), 1e-13) << kind.name;
    const auto got_grads = gradients_of(m, got.loss);
    for (size_t i = 0; i < want_grads.size(); ++i) {
      const int64_t rows = want_grads[i].size(0), behind = got_grads[i].size(0) - rows;
      EXPECT_LT(distance(got_grads[i].narrow(0, 0, rows), want_grads[i]), 1e-12) << kind.name;
      EXPECT_EQ(got_grads[i].narrow(0, rows, behind).abs().sum().item<double>(), 0) << kind.name;
    }
    options.vocab = TwoModels::kVocab + 4;
    EXPECT_THROW(share_of(m, options), Error);
  }
}

TEST(Distill, TheOrderOfTheRowsAndMicroBatchesChangeNothing) {
  const TwoModels m = two_models();
  const DistillOptions options = options_of(kDivergenceKinds[2], 2, 0.6);
  const DistillShare want = share_of(m, options);
  const auto want_grads = gradients_of(m, want.loss);
  TwoModels reversed = m;
  reversed.batch.target_rows = m.batch.target_rows.flip(0);
  const DistillShare turned = share_of(reversed, options, kThreeRows);
  EXPECT_NEAR(turned.loss.item<double>(), want.loss.item<double>(), 1e-13);
  const auto turned_grads = gradients_of(m, turned.loss);
  TwoModels first = m, second = m;
  first.batch.target_rows = m.batch.target_rows.narrow(0, 0, 3);
  second.batch.target_rows = m.batch.target_rows.narrow(0, 3, m.batch.target_rows.size(0) - 3);
  const DistillShare one = share_of(first, options), other = share_of(second, options);
  EXPECT_NEAR((one.divergence + other.divergence).item<double>(), want.divergence.item<double>(), 1e-13);
  const auto added = gradients_of(m, one.loss + other.loss);
  for (size_t i = 0; i < added.size(); ++i) {
    EXPECT_LT(distance(added[i], want_grads[i]), 1e-12);
    EXPECT_LT(distance(turned_grads[i], want_grads[i]), 1e-12);
  }
}

TEST(Distill, ABatchWithoutLabelsGivesZero) {
  TwoModels m = two_models();
  m.batch.target_rows = at::zeros({0}, at::kLong);
  const DistillShare share = share_of(m, {});
  EXPECT_EQ(share.loss.item<double>(), 0);
  for (const Tensor& grad : gradients_of(m, share.loss)) EXPECT_EQ(grad.norm().item<double>(), 0);
  m.counts.tokens = 0;
  EXPECT_THROW(share_of(m, {}), Error);
}

TEST(Distill, TheTeacherAndAFrozenHeadGetNoGradient) {
  TwoModels m = two_models();
  m.teacher_hidden.requires_grad_();
  for (Tensor tensor : {dense_weight(m.head), m.head.bias, m.head.lora->a, m.head.lora->b})
    tensor.requires_grad_(false);
  share_of(m, {}).loss.backward();
  EXPECT_TRUE(m.hidden.grad().defined());
  EXPECT_FALSE(dense_weight(m.head).grad().defined());
  EXPECT_FALSE(m.teacher_hidden.grad().defined());
}

TwoModels in_types(const TwoModels& m, c10::ScalarType rows, c10::ScalarType weights) {
  TwoModels other = m;
  const auto leaf = [](const Tensor& t, c10::ScalarType type) {
    return t.defined() ? t.detach().to(type).requires_grad_() : t;
  };
  other.hidden = leaf(m.hidden, rows), other.head.weight = Dense{leaf(dense_weight(m.head), weights)};
  other.head.bias = leaf(m.head.bias, weights);
  other.head.lora->a = leaf(m.head.lora->a, weights), other.head.lora->b = leaf(m.head.lora->b, weights);
  other.teacher_hidden = m.teacher_hidden.to(rows);
  other.teacher_head.weight = Dense{dense_weight(m.teacher_head).to(rows)};
  return other;
}

TEST(Distill, NarrowerTypesDifferByRoundingOnly) {
  const TwoModels exact = two_models();
  for (const auto& [rows, tolerance] : {std::pair{at::kFloat, 1e-5}, std::pair{at::kBFloat16, 4e-2}}) {
    for (const DivergenceKind& kind : kDivergenceKinds) {
      const DistillOptions options = options_of(kind, 2, 0.5);
      const TwoModels m = in_types(exact, rows, at::kFloat);
      const DistillShare got = share_of(m, options);
      EXPECT_EQ(got.loss.scalar_type(), at::kFloat);
      const Tensor want = plain_loss(exact, kind, 2, 0.5);
      EXPECT_LT(distance(got.loss, want), tolerance) << kind.name;
      const auto want_grads = gradients_of(exact, want), got_grads = gradients_of(m, got.loss);
      for (size_t i = 0; i < want_grads.size(); ++i) {
        EXPECT_EQ(got_grads[i].scalar_type(), m.leaves()[i].scalar_type());
        EXPECT_LT(distance(got_grads[i], want_grads[i]), tolerance) << kind.name << " " << i;
      }
    }
  }
}

TEST(Distill, LogitsFarApartStayFinite) {
  for (const DivergenceKind& kind : kDivergenceKinds) {
    TwoModels m = in_types(two_models(), at::kFloat, at::kFloat);
    m.softcap = m.teacher_softcap = 0;
    m.hidden = (m.hidden.detach() * 2000).requires_grad_();
    m.teacher_hidden = m.teacher_hidden * 2000;
    const DistillShare share = share_of(m, options_of(kind, 1, 0.5));
    EXPECT_TRUE(at::isfinite(share.loss).item<bool>()) << kind.name;
    for (const Tensor& grad : gradients_of(m, share.loss)) EXPECT_TRUE(at::isfinite(grad).all().item<bool>());
  }
}

TEST(Distill, MemoryIsThatOfOneChunk) {
  constexpr int64_t rows = 2000, vocabulary = 20'000, chunk = int64_t{4} << 20;
  constexpr int64_t all_logits = rows * vocabulary * 4;
  TwoModels m = two_models(false);
  m.hidden = at::randn({rows, 12}).requires_grad_();
  m.head.weight = Dense{at::randn({vocabulary, 12})};
  m.teacher_hidden = at::randn({rows, 12});
  m.teacher_head.weight = Dense{at::randn({vocabulary, 12})};
  m.batch.labels = at::randint(vocabulary, {rows}, at::kLong);
  m.batch.target_rows = at::arange(rows, at::kLong);
  m.batch.weights = at::full({rows}, 1, at::kFloat);
  const auto peak_bytes = [] {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return int64_t{usage.ru_maxrss} * 1024;
  };
  const int64_t before = peak_bytes();
  share_of(m, {.divergence = Divergence::jsd, .temperature = 2}, chunk).loss.backward();
  EXPECT_LT(peak_bytes() - before, all_logits / 2);  // less than one side's logits
}

}  // namespace
}  // namespace prentice
