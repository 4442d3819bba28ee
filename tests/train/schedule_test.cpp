#include "train/schedule.h"

#include <gtest/gtest.h>

#include "io/json.h"

namespace prentice {
namespace {

Schedule kind_of(const std::string& name) {
  if (name == "cosine") return Schedule::cosine;
  if (name == "linear") return Schedule::linear;
  return name == "constant" ? Schedule::constant : Schedule::wsd;
}

TEST(Schedule, EqualsTransformers) {
  const auto golden = Json::parse_file("tests/golden/train/schedule.json");
  for (const auto& wanted : golden.at("cases").as_array()) {
    const ScheduleOptions options{.kind = kind_of(wanted.at("kind").as_string()),
                                  .steps = wanted.at("steps").as_integer(),
                                  .warmup_steps = wanted.at("warmup").as_number(),
                                  .min_lr = wanted.at("min_lr").as_number(),
                                  .decay = wanted.at("decay").as_number()};
    // transformers lets the warm-up of cosine with a minimum begin at the minimum; ours begins at 0.
    for (int64_t step = options.min_lr > 0 ? static_cast<int64_t>(options.warmup_steps) : 0; step < options.steps;
         ++step) {
      EXPECT_NEAR(schedule_factor(options, step),
                  wanted.at("factors").as_array()[static_cast<size_t>(step)].as_number(), 1e-15)
          << wanted.dump();
    }
  }
}

TEST(Schedule, WarmsUpFromZeroAndNotAtAllWithoutWarmup) {
  for (const auto kind : {Schedule::cosine, Schedule::linear, Schedule::constant, Schedule::wsd}) {
    ScheduleOptions options{.kind = kind, .steps = 50, .warmup_steps = 5, .min_lr = 0.1};
    for (int64_t step = 0; step < 5; ++step)
      EXPECT_DOUBLE_EQ(schedule_factor(options, step), static_cast<double>(step) / 5);
    EXPECT_DOUBLE_EQ(schedule_factor(options, 5), 1);
    options.warmup_steps = 0;
    EXPECT_DOUBLE_EQ(schedule_factor(options, 0), 1);
  }
}

TEST(Schedule, FallsToTheMinimumShare) {
  for (const auto kind : {Schedule::cosine, Schedule::linear, Schedule::wsd}) {
    const ScheduleOptions options{.kind = kind, .steps = 50, .warmup_steps = 5, .min_lr = 0.1};
    double before = 1;
    for (int64_t step = 5; step < 50; ++step) {
      const double factor = schedule_factor(options, step);
      EXPECT_LE(factor, before);
      before = factor;
    }
    EXPECT_NEAR(schedule_factor(options, 50), 0.1, 1e-12);
  }
  const ScheduleOptions wsd{.kind = Schedule::wsd, .steps = 50, .warmup_steps = 5, .decay = 0.2};
  EXPECT_EQ(schedule_factor(wsd, 39), 1);
  EXPECT_EQ(schedule_factor(wsd, 40), 1);
  EXPECT_LT(schedule_factor(wsd, 41), 1);
}

}  // namespace
}  // namespace prentice
