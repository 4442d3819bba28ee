#include "proof/scale_estimate.h"

#include <algorithm>
#include <cmath>

#include "proof/block_codes.h"

namespace prentice {

void ScaleEstimate::add(std::span<const float> wanted, std::span<const float> stored, const CodeRanges& ranges) {
  for (size_t i = 0; i < wanted.size(); ++i) {
    const double value = wanted[i], at = (value - ranges.lowest(i)) / ranges.step(i), error = stored[i] - value;
    if (!(at >= 0 && at <= ranges.last())) continue;  // no number where the step is none
    ++values_;
    squares_ += value * value, along_ += error * value, errors_ += error * error;
  }
}

double ScaleEstimate::excess() const { return squares_ > 0 ? along_ / squares_ : 0; }

double ScaleEstimate::error() const { return squares_ > 0 ? std::sqrt(errors_ / squares_) : 0; }

double most_excess(const ScaleEstimate& own, GgmlType type, bool importance) {
  constexpr double kBias = 0.25, kChance = 8, kCodesOffStep = 0.02, kArithmetic = 1e-4;
  const double error = own.error(), count = static_cast<double>(std::max<int64_t>(own.values(), 1));
  return kArithmetic + kBias * error * error + kChance * error / std::sqrt(count) +
         (importance && has_one_step(type) ? kCodesOffStep : 0);
}

}  // namespace prentice
