#include "quant/encode.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "io/scratch.h"

namespace prentice {
namespace {

TEST(Encode, AZeroBlockIsAllZeroBytes) {
  std::vector<std::byte> bytes;
  encode(std::vector<float>(32, 0.0f), GgmlType::Q8_0, bytes);
  EXPECT_EQ(bytes, std::vector<std::byte>(34, std::byte{0}));
}

// Codes of exactly half a step go away from zero: roundf, not nearest even.
TEST(Encode, HalvesRoundAwayFromZero) {
  std::vector<float> values(32, 0.0f);
  values[0] = 127;
  values[1] = 0.5f, values[2] = -0.5f, values[3] = 2.5f, values[4] = -2.5f, values[5] = 0.49999997f;
  std::vector<std::byte> bytes;
  encode(values, GgmlType::Q8_0, bytes);
  const int expected[] = {127, 1, -1, 3, -3, 0};
  for (int i = 0; i < 6; ++i) EXPECT_EQ(static_cast<int8_t>(bytes[2 + i]), expected[i]) << i;
}

TEST(Encode, RoundingStaysWithinItsBoundsAndReachesHalfOfThem) {
  std::mt19937 random(3);
  std::normal_distribution<float> normal(0, 0.02f);
  std::vector<float> values(32 * 512);
  for (auto& value : values)
    value = normal(random) * std::exp2(static_cast<float>(static_cast<int>(random() % 40) - 30));
  for (const auto type :
       {GgmlType::F32, GgmlType::F16, GgmlType::BF16, GgmlType::Q8_0, GgmlType::Q6_K, GgmlType::Q5_K, GgmlType::Q4_K,
        GgmlType::Q3_K, GgmlType::Q2_K, GgmlType::Q5_1, GgmlType::Q5_0, GgmlType::Q4_1, GgmlType::Q4_0}) {
    std::vector<std::byte> bytes;
    encode(values, type, bytes);
    std::vector<float> back(values.size()), bounds(values.size());
    decode(bytes, type, back);
    rounding_bounds(values, type, bounds);
    float worst = 0;
    for (size_t i = 0; i < values.size(); ++i) {
      const float error = std::abs(values[i] - back[i]);
      EXPECT_LE(error, bounds[i]) << ggml_type_info(type).name << " " << values[i];
      if (bounds[i] > 0) worst = std::max(worst, error / bounds[i]);
    }
    // A search may shift a grid by more than it does here; the steps of such a block are codes themselves.
    const bool searched = ggml_type_info(type).block_elements == 256;
    if (type != GgmlType::F32)
      EXPECT_GT(worst, searched ? 0.2f : 0.5f) << "a bound so wide proves nothing: " << ggml_type_info(type).name;
  }
}

TEST(Encode, AFiniteValueThatF16CannotHoldIsRefused) {
  std::vector<std::byte> bytes;
  encode(std::vector<float>{65504.0f, 65519.9f}, GgmlType::F16, bytes);
  ExitCode code = ExitCode::ok;
  std::string hint;
  EXPECT_TRUE(
      contains(message_of([&] { encode(std::vector<float>{70000.0f}, GgmlType::F16, bytes); }, &code, &hint), "70000"));
  EXPECT_EQ(code, ExitCode::model);
  EXPECT_TRUE(contains(hint, "BF16"));
}

}  // namespace
}  // namespace prentice
