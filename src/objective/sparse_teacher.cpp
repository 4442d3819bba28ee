#include "objective/sparse_teacher.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/_log_softmax.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/logaddexp.h>
#include <ATen/ops/topk.h>
#include <ATen/ops/where.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.h"

namespace prentice {

namespace {

constexpr double kImpossible = -1e30;  // log-probability of an event that a row does not have
constexpr double kLeastTail = 1e-12;   // a smaller tail of either side counts as this, so that its logarithm is finite

struct Entries {
  Tensor ids;    // [n, K] int64; behind the row's count its first id again
  Tensor known;  // [n, K] bool
};

Tensor known_entries(const Tensor& counts, int64_t width) {
  return at::arange(width, counts.options().dtype(at::kLong)).unsqueeze(0).lt(counts.to(at::kLong).unsqueeze(1));
}

Entries entries(const SparseTeacher& teacher) {
  const Tensor known = known_entries(teacher.counts, teacher.ids.size(1)), ids = teacher.ids.to(at::kLong);
  return {at::where(known, ids, ids.narrow(1, 0, 1)), known};
}

// Scaled logarithms, impossible where `present` is false.
Tensor events(const Tensor& logarithms, const Tensor& present, double exponent) {
  return at::where(present, logarithms * exponent, kImpossible);
}

Tensor log_tail(const Tensor& mass) { return mass.clamp_min(kLeastTail).log().unsqueeze(1); }

// With G = d value / d log e of the k + 1 events, sum G = 0 as a softmax stands between. So an id that is an event has
// the gradient G, and one in the tail G_tail times its part of the tail.
Tensor with_tail(const SparseTeacher& teacher, Divergence kind, double beta, double temperature, Tensor& log_probs,
                 bool gradients) {
  const auto type = log_probs.scalar_type();
  const int64_t width = teacher.ids.size(1);
  const Entries of = entries(teacher);
  const Tensor picked = log_probs.gather(1, of.ids);
  log_probs.scatter_(1, of.ids, -std::numeric_limits<double>::infinity()).exp_();  // the tail alone is left
  const Tensor tail = log_probs.sum(1);
  const Tensor whole = teacher.counts.lt(log_probs.size(1)).unsqueeze(1), present = at::cat({of.known, whole}, 1);
  const auto tempered = [&](const Tensor& known, const Tensor& mass) {
    return at::log_softmax(events(at::cat({known, log_tail(mass)}, 1), present, 1 / temperature), 1);
  };
  Tensor student = tempered(picked, tail), theirs = tempered(teacher.log_probs.to(type), teacher.tail.to(type));
  const Tensor values = divergence_rows(kind, beta, student, theirs, gradients) * (temperature * temperature);
  if (!gradients) return values;
  student.mul_(temperature);  // T^2, and the exponent's 1 / T
  const Tensor of_tail = at::where(tail.gt(kLeastTail), student.select(1, width) / tail, 0);
  log_probs.mul_(of_tail.unsqueeze(1));
  log_probs.scatter_add_(1, of.ids, at::where(of.known, student.narrow(1, 0, width), 0));
  return values;
}

struct Partial {
  Tensor values;     // [n]
  Tensor gradients;  // [n, K] by the student's log-probabilities
};

// Divergences over the entries alone; the student's p sum to less than 1, and what is missing of them counts where the
// teacher's is 0: in jsd as p log(p / M) with M = (1 - beta) p, in tvd as p / 2.
Partial over_entries(Divergence kind, double beta, const Tensor& log_p, const Tensor& log_q) {
  const Tensor p = log_p.exp(), q = log_q.exp(), missing = p.sum(1).neg().add(1);
  if (kind == Divergence::jsd && beta == 0) kind = Divergence::forward_kl;
  if (kind == Divergence::jsd && beta == 1) kind = Divergence::reverse_kl;
  switch (kind) {
    case Divergence::forward_kl:
      return {((log_q - log_p) * q).sum(1), q.neg()};
    case Divergence::cross_entropy:
      return {(log_p * q).sum(1).neg(), q.neg()};
    case Divergence::reverse_kl: {
      const Tensor ratio = log_p - log_q;
      return {(p * ratio).sum(1), p * (ratio + 1)};
    }
    case Divergence::jsd: {
      const double own = 1 - beta, lone = std::log1p(-beta);
      const Tensor mixture = at::logaddexp(log_p + lone, log_q + std::log(beta)), ratio = log_p - mixture;
      const Tensor values = (q * (log_q - mixture)).sum(1) * beta + (p * ratio).sum(1) * own - missing * (own * lone);
      return {values, p * (ratio + lone) * own};
    }
    case Divergence::tvd: {
      const Tensor difference = p - q;
      return {(difference.abs().sum(1) + missing) * 0.5, p * (difference.sign() - 1) * 0.5};
    }
  }
  fail(ExitCode::internal, "distillation: no such divergence");
}

Tensor without_tail(const SparseTeacher& teacher, Divergence kind, double beta, double temperature, Tensor& log_probs,
                    bool gradients) {
  const Entries of = entries(teacher);
  if (temperature != 1) at::_log_softmax_out(log_probs, log_probs.div_(temperature), 1, false);
  const Tensor picked = at::where(of.known, log_probs.gather(1, of.ids), kImpossible);
  const Tensor theirs =
      at::log_softmax(events(teacher.log_probs.to(log_probs.scalar_type()), of.known, 1 / temperature), 1);
  const Partial found = over_entries(kind, beta, picked, theirs);
  if (gradients) {
    const Tensor by_entry = at::where(of.known, found.gradients, 0) * temperature;
    log_probs.exp_().mul_(by_entry.sum(1, true).neg_()).scatter_add_(1, of.ids, by_entry);
  }
  return found.values * (temperature * temperature);
}

}  // namespace

SparseTeacher narrow_rows(const SparseTeacher& teacher, const Chunk& chunk) {
  SparseTeacher some = teacher;
  for (Tensor* t : {&some.ids, &some.log_probs, &some.counts, &some.tail}) {
    if (t->defined()) *t = t->narrow(0, chunk.begin, chunk.size);
  }
  return some;
}

SparseTeacher keep_likeliest(const SparseTeacher& teacher, int64_t top_k) {
  if (top_k >= teacher.ids.size(1)) return teacher;
  const Tensor known = known_entries(teacher.counts, teacher.ids.size(1));
  const auto [values, places] = at::topk(at::where(known, teacher.log_probs, kImpossible), top_k, 1);
  SparseTeacher kept{.ids = teacher.ids.gather(1, places),
                     .log_probs = values,
                     .counts = teacher.counts.clamp_max(top_k),
                     .convention = teacher.convention};
  if (teacher.tail.defined()) {
    const Tensor mass = at::where(known, teacher.log_probs.exp(), 0);
    kept.tail = teacher.tail + mass.scatter(1, places, 0).sum(1);
  }
  return kept;
}

SparseTeacher likeliest_entries(const Tensor& log_probs, int64_t top_k) {
  auto [values, ids] = at::topk(log_probs, std::min(top_k, log_probs.size(1)), 1);
  return {.ids = ids,
          .log_probs = values,
          .counts = at::full({ids.size(0)}, ids.size(1), ids.options()),
          .tail = log_probs.exp().scatter_(1, ids, 0).sum(1)};
}

Tensor sparse_divergences(const SparseTeacher& teacher, Divergence kind, double beta, double temperature,
                          Tensor& log_probs, bool gradients) {
  return teacher.convention == TeacherTail::event
             ? with_tail(teacher, kind, beta, temperature, log_probs, gradients)
             : without_tail(teacher, kind, beta, temperature, log_probs, gradients);
}

}  // namespace prentice
