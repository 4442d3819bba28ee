// What is left of an update: against sums worked out by hand, and at both ends.
#include "export/delta_survival.h"

#include <gtest/gtest.h>

#include <cmath>

#include "quant/encode.h"

namespace prentice {
namespace {

std::vector<float> waves(size_t count, float scale, float step) {
  std::vector<float> out(count);
  for (size_t i = 0; i < count; ++i) out[i] = scale * std::sin(step * static_cast<float>(i * i % 977));
  return out;
}

std::vector<float> plus(std::vector<float> a, const std::vector<float>& b) {
  for (size_t i = 0; i < a.size(); ++i) a[i] += b[i];
  return a;
}

DeltaSums sums_of(const std::vector<float>& base, const std::vector<float>& update, GgmlType type) {
  const auto merged = plus(base, update);
  std::vector<std::byte> stored;
  encode(merged, type, stored);
  return delta_sums(merged, base, stored, type, {});
}

// Q8_0 of a block whose largest value is 127 rounds to whole numbers.
TEST(DeltaSurvival, IsTheProjectionOfWhatTheFileChangesByOnTheUpdate) {
  std::vector<float> base(32, 0), update(32, 0);
  base[0] = 127;
  update[1] = 3, update[2] = 0.25f, update[3] = 1.75f;  // stored: 3, 0, 2
  const auto sums = sums_of(base, update, GgmlType::Q8_0);
  EXPECT_DOUBLE_EQ(sums.kept, 3 * 3 + 2 * 1.75);
  EXPECT_DOUBLE_EQ(sums.update, 9 + 0.0625 + 3.0625);
  EXPECT_DOUBLE_EQ(sums.change, 9 + 4);
  EXPECT_DOUBLE_EQ(sums.error, 0.0625 + 0.0625);
  EXPECT_DOUBLE_EQ(sums.survival(), 12.5 / 12.125);
  EXPECT_DOUBLE_EQ(sums.alignment(), 12.5 / std::sqrt(13 * 12.125));
  EXPECT_DOUBLE_EQ(sums.noise(), std::sqrt(0.125 / 12.125));
}

TEST(DeltaSurvival, AnUpdateThatRoundingSwallowsIsGone) {
  std::vector<float> base(32, 0), update(32, 0.1f);
  base[0] = 127, update[0] = 0;
  const auto sums = sums_of(base, update, GgmlType::Q8_0);
  EXPECT_EQ(sums.survival(), 0);
  EXPECT_EQ(sums.alignment(), 0);
  EXPECT_TRUE(sums.is_nearly_gone());
}

TEST(DeltaSurvival, LargerUpdatesSurviveBetterInEveryType) {
  const auto base = waves(4096, 0.05f, 1.3f);
  for (const GgmlType type : {GgmlType::Q8_0, GgmlType::Q4_K, GgmlType::Q2_K}) {
    const auto large = sums_of(base, waves(4096, 0.05f, 0.7f), type),
               small = sums_of(base, waves(4096, 5e-7f, 0.7f), type);
    EXPECT_NEAR(large.survival(), 1, 0.1) << ggml_type_info(type).name;
    EXPECT_FALSE(large.is_nearly_gone());
    EXPECT_LT(large.noise() * 100, small.noise());
    EXPECT_GT(large.alignment(), small.alignment());
    EXPECT_TRUE(small.is_nearly_gone()) << ggml_type_info(type).name << " " << small.alignment();
  }
}

TEST(DeltaSurvival, TheWholeIsTheSumOfItsTensors) {
  const DeltaSurvival file{.tensors = {{"a", GgmlType::Q4_K, {.kept = 1, .update = 1, .change = 4, .error = 9}},
                                       {"b", GgmlType::Q4_K, {.kept = 0, .update = 3, .change = 0, .error = 27}}}};
  EXPECT_DOUBLE_EQ(file.total().survival(), 0.25);
  EXPECT_DOUBLE_EQ(file.total().noise(), 3);
  EXPECT_NE(file.sentence().find("25.0 % of the update is left"), std::string::npos) << file.sentence();
  EXPECT_NE(file.sentence().find("nearly gone in 1 of 2 tensors"), std::string::npos) << file.sentence();
  EXPECT_TRUE(DeltaSurvival{}.tensors.empty() && DeltaSurvival{}.total().survival() == 1);
}

}  // namespace
}  // namespace prentice
