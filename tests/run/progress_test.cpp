#include "run/progress.h"

#include <gtest/gtest.h>

namespace prentice {
namespace {

constexpr uint64_t kGigabyte = 1'000'000'000;

TEST(Progress, LineIsTheContractsLine) {
  const Progress all{.step = 120,
                     .steps = 1000,
                     .loss = 1.8419,
                     .lr = 9.6e-5,
                     .gradient_norm = 0.7149,
                     .tokens_per_second = 18412,
                     .mfu = 0.4119,
                     .memory = {.used = kGigabyte * 613 / 10, .total = kGigabyte * 80},
                     .data_share = 0.0132,
                     .seconds_left = 4360.4};
  EXPECT_EQ(
      progress_line(all),
      "step 120/1000 12% | loss 1.842 | lr 9.6e-05 | gnorm 0.71 | 18.4k tok/s | 41.2% MFU | 61.3/80 GB | data 1% | "
      "ETA 01:12:40");
}

TEST(Progress, DistillationSaysDivergenceLabelsAndTheTeachersMass) {
  const Progress distilling{
      .step = 3, .steps = 4, .loss = 2.5, .divergence = 0.3142, .cross_entropy = 2.7183, .top_k_mass = 0.99261};
  EXPECT_EQ(progress_line(distilling), "step 3/4 75% | loss 2.500 | div 0.314 | ce 2.72 | mass 99.3%");
}

TEST(Progress, WhatIsUnknownIsLeftOut) {
  EXPECT_EQ(progress_line({.step = 0, .steps = 7}), "step 0/7 0%");
  EXPECT_EQ(progress_line({.step = 7, .steps = 7, .loss = 2.0, .memory = {.used = kGigabyte, .total = 0}}),
            "step 7/7 100% | loss 2.000");
}

TEST(Progress, NumbersKeepThreeOrFourDigits) {
  const auto line = [](double loss, double norm, double rate, double left) {
    return progress_line(
        {.step = 1, .steps = 3, .loss = loss, .gradient_norm = norm, .tokens_per_second = rate, .seconds_left = left});
  };
  EXPECT_EQ(line(0.0123456, 0.00042, 999.4, 59.6),
            "step 1/3 33% | loss 0.01235 | gnorm 4.2e-04 | 999 tok/s | ETA 00:01:00");
  EXPECT_EQ(line(123.456, 1234, 999.6, 360000),
            "step 1/3 33% | loss 123.5 | gnorm 1.23e+03 | 1.0k tok/s | ETA 100:00:00");
  EXPECT_EQ(line(10, 0, 1234567, 0), "step 1/3 33% | loss 10.00 | gnorm 0.00 | 1.23M tok/s | ETA 00:00:00");
}

TEST(Progress, PlainLinesInAPipeAndNothingWhenQuiet) {
  testing::internal::CaptureStderr();
  {
    ProgressPrinter printer(/*quiet=*/false);
    printer.show("one");
    printer.note("two");
    printer.show("three");
  }
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "one\ntwo\nthree\n");
  testing::internal::CaptureStderr();
  ProgressPrinter quiet(/*quiet=*/true);
  quiet.show("one");
  quiet.note("two");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

}  // namespace
}  // namespace prentice
