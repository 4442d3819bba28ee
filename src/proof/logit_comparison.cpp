#include "proof/logit_comparison.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/maximum.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace prentice {

namespace {

constexpr double kUnlikely = -9.210340371976182;  // log 1e-4

// One side's distribution over the vocabulary, whose logits are made in parts and, where there are several, twice.
struct Distribution {
  Tensor largest, total;  // [T] f64: the largest logit, and the sum of exponentials above it
  Tensor likeliest;       // [T] int64
  Tensor single;          // [T, V], where that is one part

  Tensor logarithm() const { return largest + total.log(); }
};

int64_t part_of(int64_t tokens, int64_t vocab) {
  return std::clamp<int64_t>(kProofLogits / std::max<int64_t>(tokens, 1), 1, vocab);
}

Distribution distribution(const LogitsOf& logits, int64_t tokens, int64_t vocab) {
  Distribution found;
  const int64_t part = part_of(tokens, vocab);
  for (int64_t first = 0; first < vocab; first += part) {
    const Tensor scores = logits(first, std::min(part, vocab - first));
    const auto [most, at] = scores.max(-1);
    if (!found.largest.defined()) {
      found.largest = most, found.likeliest = at, found.total = (scores - most.unsqueeze(1)).exp().sum(-1);
      if (part == vocab) found.single = scores;
      continue;
    }
    const Tensor larger = at::maximum(found.largest, most);
    found.likeliest = at::where(most.gt(found.largest), at + first, found.likeliest);
    found.total = found.total * (found.largest - larger).exp() + (scores - larger.unsqueeze(1)).exp().sum(-1);
    found.largest = larger;
  }
  return found;
}

bool holds(const std::vector<int32_t>& ids, int64_t id) { return std::ranges::count(ids, id) > 0; }

}  // namespace

void LogitComparison::add(const LogitsOf& own, const LogitsOf& other, std::span<const int64_t> next) {
  const auto tokens = static_cast<int64_t>(next.size());
  const int64_t part = part_of(tokens, vocab_);
  const Distribution p = distribution(own, tokens, vocab_), q = distribution(other, tokens, vocab_);
  const Tensor p_log = p.logarithm().unsqueeze(1), q_log = q.logarithm().unsqueeze(1);
  if (!at::isfinite(p_log).all().item<bool>()) fail(ExitCode::numerical, "the model's own logits are not finite");
  const Tensor probabilities = p.total.reciprocal();  // of the likeliest
  confidence_ += probabilities.sum().item<double>();
  Tensor divergences = at::zeros_like(p.largest);
  for (int64_t first = 0; first < vocab_; first += part) {
    const int64_t count = std::min(part, vocab_ - first);
    const Tensor lp = (p.single.defined() ? p.single : own(first, count)) - p_log;
    const Tensor difference = lp - ((q.single.defined() ? q.single : other(first, count)) - q_log);
    divergences = divergences + (lp.exp() * difference).sum(-1);
    found_.largest = std::max(found_.largest, (difference.abs() * lp.gt(kUnlikely)).max().item<double>());
    add_losses(lp, difference, first, next);
  }
  found_.tokens += tokens;
  add_rows(divergences.cpu(), p.likeliest.cpu(), probabilities.cpu(), q.likeliest.cpu());
}

LogitProof LogitComparison::result() const {
  LogitProof found = found_;
  auto all = divergences_;
  const auto count = static_cast<double>(std::max<size_t>(1, all.size()));
  for (const double one : all) found.kld_mean += one / count;
  std::ranges::sort(all);
  if (!all.empty()) found.kld_p99 = all[std::min(all.size() - 1, all.size() * 99 / 100)];
  found.top1 = same_ / count, found.confidence = confidence_ / count;
  if (found.targets > 0)
    found.perplexity_ratio = std::exp((other_loss_ - own_loss_) / static_cast<double>(found.targets));
  return found;
}

// Of the part of the vocabulary from `first` on: log-probabilities of the own side, [T, count], and how far they are
// above the other's.
void LogitComparison::add_losses(const Tensor& lp, const Tensor& difference, int64_t first,
                                 std::span<const int64_t> next) {
  for (int64_t row = 0; row < lp.size(0); ++row) {
    const int64_t label = next[static_cast<size_t>(row)] - first;
    if (label < 0 || label >= lp.size(1)) continue;
    const double loss = -lp.select(0, row).select(0, label).item<double>();
    ++found_.targets;
    own_loss_ += loss, other_loss_ += loss + difference.select(0, row).select(0, label).item<double>();
  }
}

// All [T] on the host.
void LogitComparison::add_rows(const Tensor& divergences, const Tensor& likeliest, const Tensor& probabilities,
                               const Tensor& others) {
  for (int64_t row = 0; row < divergences.size(0); ++row) {
    const double divergence = divergences.const_data_ptr<double>()[row];
    divergences_.push_back(std::isfinite(divergence) ? std::max(divergence, 0.0) : HUGE_VAL);
    const int64_t a = likeliest.const_data_ptr<int64_t>()[row], b = others.const_data_ptr<int64_t>()[row];
    same_ += a == b ? 1 : 0;
    const bool is_clear = probabilities.const_data_ptr<double>()[row] >= kClearEnd;
    if (is_clear && holds(stop_ids_, a)) ++found_.ends, found_.ends_kept += holds(stop_ids_, b) ? 1 : 0;
  }
}

DecidedCounts count_decided(const LogitsOf& own, const LogitsOf& other, int64_t tokens, int64_t vocab, double margin) {
  Tensor best;  // [T, 2]
  const int64_t part = std::max<int64_t>(2, part_of(tokens, vocab));
  for (int64_t first = 0; first < vocab; first += part) {
    const int64_t count = std::min(part, vocab - first);
    const Tensor most = std::get<0>(own(first, count).topk(std::min<int64_t>(2, count), -1));
    best = best.defined() ? std::get<0>(at::cat({best, most}, -1).topk(2, -1)) : most;
  }
  const Tensor decided = (best.select(1, 0) - best.select(1, 1)).gt(margin);
  const Tensor mine = distribution(own, tokens, vocab).likeliest, theirs = distribution(other, tokens, vocab).likeliest;
  return {decided.sum().item<int64_t>(), (decided * mine.ne(theirs)).sum().item<int64_t>()};
}

}  // namespace prentice
