// How far one side's logits are from another's, added up over positions; the vocabulary is gone through in parts.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "proof/logit_proof.h"

namespace prentice {

// An answer ends where the own side gives its stop token this probability at least: an end that it hardly prefers to
// going on is any rounding's to change.
inline constexpr double kClearEnd = 0.75;

class LogitComparison {
 public:
  // The ids must outlive it.
  LogitComparison(int64_t vocab, const std::vector<int32_t>& stop_ids) : vocab_(vocab), stop_ids_(stop_ids) {}

  // `next`: the id behind each of the positions, or -1. Errors: `numerical` for own logits that are not finite.
  void add(const LogitsOf& own, const LogitsOf& other, std::span<const int64_t> next);
  LogitProof result() const;

 private:
  void add_losses(const Tensor& lp, const Tensor& difference, int64_t first, std::span<const int64_t> next);
  void add_rows(const Tensor& divergences, const Tensor& likeliest, const Tensor& probabilities, const Tensor& others);

  int64_t vocab_;
  const std::vector<int32_t>& stop_ids_;
  LogitProof found_;
  std::vector<double> divergences_;
  double own_loss_ = 0, other_loss_ = 0, same_ = 0, confidence_ = 0;
};

// Positions where the own side's likeliest id leads the next by more than `margin` nats, and those of them where the
// other side's likeliest is another.
struct DecidedCounts {
  int64_t decided = 0, otherwise = 0;
};
DecidedCounts count_decided(const LogitsOf& own, const LogitsOf& other, int64_t tokens, int64_t vocab, double margin);

}  // namespace prentice
