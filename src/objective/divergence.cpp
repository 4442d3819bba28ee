#include "objective/divergence.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/logaddexp.h>

#include <cmath>

#include "core/error.h"

namespace prentice {

namespace {

// With g = d divergence / d p, the gradient by the logits is p (g - sum p g). Given t = p g and p, makes `p` that.
void through_softmax(Tensor& p, const Tensor& t, const Tensor& sums) { p.mul_(sums.neg().unsqueeze(1)).add_(t); }

// p - q; the teacher's entropy has no gradient.
void forward_gradient(Tensor& student, const Tensor& q) { student.exp_().sub_(q); }

Tensor forward_kl(Tensor& student, Tensor& teacher, bool gradients) {
  const Tensor q = teacher.exp();
  const Tensor values = teacher.sub_(student).mul_(q).sum(1);
  if (gradients) forward_gradient(student, q);
  return values;
}

Tensor cross_entropy(Tensor& student, Tensor& teacher, bool gradients) {
  const Tensor q = teacher.exp_(), values = student.mul(q).sum(1).neg_();
  if (gradients) forward_gradient(student, q);
  return values;
}

// g = log p - log q + 1
Tensor reverse_kl(Tensor& student, Tensor& teacher, bool gradients) {
  teacher.neg_().add_(student);
  const Tensor t = teacher.mul_(student.exp_()), values = t.sum(1);
  if (gradients) through_softmax(student, t, values);
  return values;
}

// g = (1 - beta) (log p - log M): what M's own change adds cancels.
Tensor jsd(double beta, Tensor& student, Tensor& teacher, bool gradients) {
  Tensor mixture = student.add(std::log1p(-beta));
  at::logaddexp_out(mixture, mixture, teacher.add(std::log(beta)));
  const Tensor of_teacher = [&] {
    const Tensor q = teacher.exp();
    return teacher.sub_(mixture).mul_(q).sum(1);
  }();
  mixture.neg_().add_(student);
  const Tensor t = mixture.mul_(student.exp_()), of_student = t.sum(1);
  if (gradients) {
    through_softmax(student, t, of_student);
    student.mul_(1 - beta);
  }
  return of_teacher * beta + of_student * (1 - beta);
}

// g = sign(p - q) / 2
Tensor tvd(Tensor& student, Tensor& teacher, bool gradients) {
  Tensor difference = teacher.exp_().neg_().add_(student.exp_());
  const Tensor values = difference.abs().sum(1).mul_(0.5);
  if (gradients) {
    const Tensor t = difference.sign_().mul_(student);
    through_softmax(student, t, t.sum(1));
    student.mul_(0.5);
  }
  return values;
}

}  // namespace

Tensor divergence_rows(Divergence kind, double beta, Tensor& student, Tensor& teacher, bool gradients) {
  if (kind == Divergence::jsd && beta == 0) kind = Divergence::forward_kl;
  if (kind == Divergence::jsd && beta == 1) kind = Divergence::reverse_kl;
  switch (kind) {
    case Divergence::forward_kl:
      return forward_kl(student, teacher, gradients);
    case Divergence::reverse_kl:
      return reverse_kl(student, teacher, gradients);
    case Divergence::jsd:
      return jsd(beta, student, teacher, gradients);
    case Divergence::tvd:
      return tvd(student, teacher, gradients);
    case Divergence::cross_entropy:
      return cross_entropy(student, teacher, gradients);
  }
  fail(ExitCode::internal, "distillation: no such divergence");
}

}  // namespace prentice
