// For experiments/distill_loss: time and memory of the distillation share, in chunks and as autograd writes it over all
// logits. One process measures one form, as the peak of a process never falls.
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/logaddexp.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <chrono>
#include <cmath>
#include <cstdlib>
#include <map>
#include <sstream>

#include "objective/distill.h"

namespace prentice {
namespace {

struct Models {
  Tensor hidden, weight, teacher_hidden, teacher_weight;
  Batch batch;
  Counts counts;
};

Models make_models(int64_t rows, int64_t vocab, int64_t width) {
  Models s;
  s.hidden = at::randn({rows, width}, at::kFloat).requires_grad_();
  s.weight = at::randn({vocab, width}, at::kFloat).mul_(1 / std::sqrt(width));
  s.teacher_hidden = at::randn({rows, width}, at::kFloat);
  s.teacher_weight = at::randn({vocab, width}, at::kFloat).mul_(1 / std::sqrt(width));
  s.batch.labels = at::randint(vocab, {rows}, at::kLong);
  s.batch.target_rows = at::arange(rows, at::kLong);
  s.batch.weights = at::full({rows}, 1, at::kFloat);
  s.counts.tokens = static_cast<double>(rows);
  return s;
}

Tensor in_chunks(const Models& s, const DistillOptions& options, int64_t chunk_mebibytes) {
  const Linear head{.weight = Dense{s.weight}}, teacher{.weight = Dense{s.teacher_weight}};
  return distill_share(s.hidden, head, 0, s.batch, s.counts, LiveTeacher{s.teacher_hidden, teacher}, options, {},
                       {chunk_mebibytes << 20})
      .loss;
}

Tensor over_all_logits(const Models& s, const DistillOptions& options) {
  const double temperature = options.temperature, beta = options.beta;
  const Tensor logits = s.hidden.matmul(s.weight.t());
  const Tensor log_q = at::log_softmax(s.teacher_hidden.matmul(s.teacher_weight.t()) / temperature, 1);
  const Tensor log_p = at::log_softmax(logits / temperature, 1);
  Tensor value;
  if (options.divergence == Divergence::forward_kl) {
    value = (log_q.exp() * (log_q - log_p)).sum();
  } else if (options.divergence == Divergence::reverse_kl) {
    value = (log_p.exp() * (log_p - log_q)).sum();
  } else {
    const Tensor log_m = at::logaddexp(log_p + std::log1p(-beta), log_q + std::log(beta));
    value = (log_q.exp() * (log_q - log_m)).sum() * beta + (log_p.exp() * (log_p - log_m)).sum() * (1 - beta);
  }
  const Tensor labels = at::log_softmax(logits, 1).gather(1, s.batch.labels.unsqueeze(1)).sum().neg();
  return (value * (options.weight * temperature * temperature) + labels * (1 - options.weight)) / s.counts.tokens;
}

struct Usage {
  double cpu_seconds;
  int64_t peak_bytes;
};

Usage usage() {
  rusage of{};
  getrusage(RUSAGE_SELF, &of);
  const auto seconds = [](const timeval& time) { return static_cast<double>(time.tv_sec) + 1e-6 * time.tv_usec; };
  return {seconds(of.ru_utime) + seconds(of.ru_stime), int64_t{of.ru_maxrss} * 1024};
}

// PRENTICE_MEASURE: "chunks|whole forward_kl|reverse_kl|jsd ROWS VOCAB WIDTH TEMPERATURE MEBIBYTES", the last being
// those of one chunk's logits, 0 for the default. Prints a line MEASURED with the seconds of loss and backward by the
// wall clock and of CPU time, the bytes by which the peak rose, and the loss.
TEST(Measure, DistillationFromLogits) {
  const char* wanted = std::getenv("PRENTICE_MEASURE");
  if (!wanted) GTEST_SKIP() << "PRENTICE_MEASURE is not set";
  const std::map<std::string, Divergence> divergences = {
      {"forward_kl", Divergence::forward_kl}, {"reverse_kl", Divergence::reverse_kl}, {"jsd", Divergence::jsd}};
  std::string form, kind;
  int64_t rows = 0, vocab = 0, width = 0, mebibytes = 0;
  DistillOptions options;
  std::istringstream(wanted) >> form >> kind >> rows >> vocab >> width >> options.temperature >> mebibytes;
  options.divergence = divergences.at(kind);
  const auto run = [&](const Models& models) {
    const Tensor loss = form == "chunks" ? in_chunks(models, options, mebibytes) : over_all_logits(models, options);
    loss.backward();
    return loss.item<double>();
  };
  run(make_models(4, 64, width));  // threads and libraries start
  const Models models = make_models(rows, vocab, width);
  const Usage before = usage();
  const auto start = std::chrono::steady_clock::now();
  const double loss = run(models);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const Usage after = usage();
  fmt::print("MEASURED {} {} {} {}\n", seconds, after.cpu_seconds - before.cpu_seconds,
             after.peak_bytes - before.peak_bytes, loss);
}

}  // namespace
}  // namespace prentice
