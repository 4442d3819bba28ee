#include "train/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace prentice {

namespace {

double cosine_fall(double progress) {
  return 0.5 * (1.0 + std::cos(std::numbers::pi * std::clamp(progress, 0.0, 1.0)));
}

}  // namespace

double schedule_factor(const ScheduleOptions& options, int64_t step) {
  const double s = static_cast<double>(step), total = static_cast<double>(options.steps);
  const double warmup = options.warmup_steps;
  if (s < warmup) return s / std::max(1.0, warmup);
  const double above_min = 1.0 - options.min_lr;
  const double progress = (s - warmup) / std::max(1.0, total - warmup);
  switch (options.kind) {
    case Schedule::constant:
      return 1.0;
    case Schedule::linear:
      return options.min_lr + above_min * std::clamp(1.0 - progress, 0.0, 1.0);
    case Schedule::cosine:
      return options.min_lr + above_min * cosine_fall(progress);
    case Schedule::wsd: {
      const double falling = std::round(options.decay * total);
      const double start = std::max(warmup, total - falling);
      if (s < start) return 1.0;
      return options.min_lr + above_min * cosine_fall((s - start) / std::max(1.0, falling));
    }
  }
  return 1.0;
}

}  // namespace prentice
