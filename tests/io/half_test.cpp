#include "io/half.h"

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

namespace prentice {
namespace {

// Every float that is a half, lies half way between two, or is one bit to either side; then random bits.
std::vector<float> hard_floats() {
  std::vector<float> values;
  for (uint32_t high = 0; high < 0x10000; ++high) {
    for (const uint32_t low : {0x0000u, 0x7fffu, 0x8000u, 0x8001u}) {
      values.push_back(std::bit_cast<float>((high << 16) | low));
    }
    const uint32_t half = std::bit_cast<uint32_t>(f16_to_f32(static_cast<uint16_t>(high)));
    for (const uint32_t delta : {0xfffu, 0x1000u, 0x1001u}) values.push_back(std::bit_cast<float>(half + delta));
  }
  std::mt19937 random(17);
  for (int i = 0; i < 1'000'000; ++i) values.push_back(std::bit_cast<float>(static_cast<uint32_t>(random())));
  return values;
}

TEST(Half, EveryF16ReadsAsTorchReadsIt) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float expected = c10::Half(static_cast<uint16_t>(bits), c10::Half::from_bits());
    const float got = f16_to_f32(static_cast<uint16_t>(bits));
    if (std::isnan(expected)) {
      ASSERT_TRUE(std::isnan(got)) << bits;
    } else {
      ASSERT_EQ(std::bit_cast<uint32_t>(got), std::bit_cast<uint32_t>(expected)) << bits;
    }
  }
}

TEST(Half, F32RoundsToF16AsTorchRounds) {
  const auto values = hard_floats();
  std::vector<uint16_t> got(values.size());
  f32_to_f16(values, got);
  for (size_t i = 0; i < values.size(); ++i) {
    if (std::isnan(values[i])) {
      ASSERT_EQ(got[i] & 0x7fff, 0x7e00);
    } else {
      ASSERT_EQ(got[i], c10::Half(values[i]).x) << values[i];
    }
  }
}

TEST(Half, F32RoundsToBf16AsTorchRounds) {
  const auto values = hard_floats();
  std::vector<uint16_t> got(values.size());
  f32_to_bf16(values, got);
  std::vector<float> back(values.size());
  bf16_to_f32(got, back);
  for (size_t i = 0; i < values.size(); ++i) {
    const c10::BFloat16 expected(values[i]);
    if (std::isnan(values[i])) {
      ASSERT_TRUE(std::isnan(back[i]));
    } else {
      ASSERT_EQ(got[i], expected.x) << values[i];
      ASSERT_EQ(back[i], static_cast<float>(expected));
    }
  }
}

}  // namespace
}  // namespace prentice
