// The learning rate as a pure function of the step: what is resumed is one integer.
#pragma once

#include <cstdint>

#include "config/schema.h"

namespace prentice {

struct ScheduleOptions {
  Schedule kind = Schedule::cosine;
  int64_t steps = 0;        // S, of the whole run
  double warmup_steps = 0;  // W
  double min_lr = 0;        // share of the rate that is left at the end
  double decay = 0.2;       // wsd: share of S in which the rate falls
};

// Factor on the learning rate at 0-based step s: s/W below W (0 at step 0 when W > 0), then
//   cosine    min + (1 - min) (1 + cos(pi p)) / 2, with p = (s - W) / (S - W)
//   linear    min + (1 - min) (1 - p)
//   constant  1
//   wsd       1, then over the last round(decay S) steps the cosine's fall (Hu et al. 2024, MiniCPM, section 4)
// Equal to transformers' get_*_schedule, whose warm-up of wsd and cosine-with-min-lr starts at 0 too when min is 0.
double schedule_factor(const ScheduleOptions& options, int64_t step);

}  // namespace prentice
