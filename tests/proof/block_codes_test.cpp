#include "proof/block_codes.h"

#include <gtest/gtest.h>

#include <array>
#include <bit>

#include "io/half.h"

namespace prentice {
namespace {

using Codes = std::array<int, 32>;
using Values = std::array<float, 32>;

void put_half(std::vector<std::byte>& out, float value) {
  const uint16_t half = f32_to_f16(value);
  out.push_back(static_cast<std::byte>(half & 255)), out.push_back(static_cast<std::byte>(half >> 8));
}

// As ggml-common.h lays them out: step, offset (of _1), the fifth bits (of Q5) in 32 bits, then 16 bytes of two codes'
// low bits, the second 16 above the first 16.
std::vector<std::byte> block_of(GgmlType type, float step, float offset, const Codes& codes) {
  std::vector<std::byte> out;
  put_half(out, step);
  if (type == GgmlType::Q4_1 || type == GgmlType::Q5_1) put_half(out, offset);
  if (type == GgmlType::Q5_0 || type == GgmlType::Q5_1) {
    uint32_t fifth = 0;
    for (size_t i = 0; i < 32; ++i) fifth |= static_cast<uint32_t>(codes[i] >> 4) << i;
    for (int shift = 0; shift < 32; shift += 8) out.push_back(static_cast<std::byte>(fifth >> shift & 255));
  }
  for (size_t i = 0; i < 16; ++i) out.push_back(static_cast<std::byte>((codes[i] & 15) | (codes[i + 16] & 15) << 4));
  return out;
}

const Codes kFour = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,
                     3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8,  8,  9,  9,  10, 11};
const Codes kFive = {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15,
                     16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31};

Values values_of(const Codes& codes, float step, float offset) {
  Values values;
  for (size_t i = 0; i < 32; ++i) values[i] = step * static_cast<float>(codes[i]) + offset;
  return values;
}

TEST(BlockCodes, ThoseOfOneStepAreToldFromOthers) {
  for (const GgmlType type : {GgmlType::Q4_0, GgmlType::Q4_1, GgmlType::Q5_0, GgmlType::Q5_1}) {
    const bool five = type == GgmlType::Q5_0 || type == GgmlType::Q5_1;
    const bool offset = type == GgmlType::Q4_1 || type == GgmlType::Q5_1;
    const Codes& codes = five ? kFive : kFour;
    const float zero = offset ? 3 : five ? -8 : -4;  // of code 0, with a step of 0.5
    const Values wanted = values_of(codes, 0.5, zero);
    const auto of_one_step = [&](const Codes& stored, float step, double away = 0) {
      return codes_of_one_step(type, wanted, block_of(type, step, zero, stored), away);
    };
    ASSERT_TRUE(has_one_step(type));
    EXPECT_TRUE(of_one_step(codes, 0.5));
    // The stored step is another than that of the codes. An offset can make up for it; without one the best step for
    // given codes is not below what all of them ask for.
    EXPECT_EQ(of_one_step(codes, 0.45F), offset);
    EXPECT_TRUE(of_one_step(codes, 0));  // no weight at all
    Codes swapped = codes;
    std::swap(swapped[2], swapped[9]);
    EXPECT_FALSE(of_one_step(swapped, 0.5));
    for (const size_t place : {5, 20}) {  // low and high half of a byte
      Codes flipped = codes;
      flipped[place] ^= five ? 16 : 4;
      EXPECT_FALSE(of_one_step(flipped, 0.5)) << place;
    }
  }
  EXPECT_FALSE(has_one_step(GgmlType::Q8_0) || has_one_step(GgmlType::Q4_K));
}

// Levels -7 to 6, which are no outermost codes, hold the inverse of the step within 6.5 / 7 and 7.5 / 7 of 1. A value
// of 3.9 at level 3 asks for at most 3.5 / 3.9, unless it may have been rounded by a twentieth of itself.
TEST(BlockCodes, AValueMayHaveBeenRoundedOnItsWay) {
  Values wanted = values_of(kFour, 1, -8);
  wanted[11] = 3.9F;
  const auto block = block_of(GgmlType::Q4_0, 1, 0, kFour);
  EXPECT_FALSE(codes_of_one_step(GgmlType::Q4_0, wanted, block, 0));
  EXPECT_TRUE(codes_of_one_step(GgmlType::Q4_0, wanted, block, 0.05));
}

}  // namespace
}  // namespace prentice
