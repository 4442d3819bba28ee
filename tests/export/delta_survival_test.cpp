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

DeltaSums measured(const std::vector<float>& base, const std::vector<float>& update, GgmlType type) {
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
  const auto sums = measured(base, update, GgmlType::Q8_0);
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
  const auto sums = measured(base, update, GgmlType::Q8_0);
  EXPECT_EQ(sums.survival(), 0);
  EXPECT_EQ(sums.alignment(), 0);
  EXPECT_TRUE((TensorSurvival{.sums = sums, .columns_per_rank = 1e6}.is_nearly_gone()));
}

TEST(DeltaSurvival, LargerUpdatesSurviveBetterInEveryType) {
  const auto base = waves(4096, 0.05f, 1.3f);
  for (const GgmlType type : {GgmlType::Q8_0, GgmlType::Q4_K, GgmlType::Q2_K}) {
    const auto large = measured(base, waves(4096, 0.05f, 0.7f), type),
               small = measured(base, waves(4096, 5e-7f, 0.7f), type);
    EXPECT_NEAR(large.survival(), 1, 0.1) << ggml_type_info(type).name;
    EXPECT_FALSE((TensorSurvival{.sums = large, .columns_per_rank = 16}.is_nearly_gone()));
    EXPECT_LT(large.noise() * 100, small.noise());
    EXPECT_GT(large.alignment(), small.alignment());
    EXPECT_TRUE((TensorSurvival{.sums = small, .columns_per_rank = 16}.is_nearly_gone())) << small.alignment();
  }
}

// n / (r noise^2) on either side of 1: of 64 columns a rank.
TEST(DeltaSurvival, IsNearlyGoneWhereItsOwnInputsCarryMoreRounding) {
  const auto of = [](double error, double columns_per_rank) {
    return TensorSurvival{.sums = {.kept = 1, .update = 1, .change = 1 + 2 * error, .error = error},
                          .columns_per_rank = columns_per_rank};
  };
  EXPECT_DOUBLE_EQ(of(32, 64).signal(), 2);
  EXPECT_FALSE(of(63, 64).is_nearly_gone());
  EXPECT_TRUE(of(65, 64).is_nearly_gone());
  EXPECT_FALSE(of(65, 256).is_nearly_gone());
  EXPECT_FALSE(of(0, 1).is_nearly_gone());
}

// What the header derives it from: D of rank r, along whose inputs the rounding is as large as along any others.
TEST(DeltaSurvival, RoundingIsNoLargerAlongTheInputsOfTheUpdate) {
  constexpr size_t kRows = 512, kColumns = 512, kRank = 4;
  uint64_t state = 7;
  const auto gauss = [&] {
    double sum = 0;
    for (int i = 0; i < 12; ++i)
      sum += static_cast<double>((state = state * 6364136223846793005u + 1442695040888963407u) >> 33) / 2147483648.0;
    return sum - 6;
  };
  std::vector<float> base(kRows * kColumns), merged(kRows * kColumns);
  std::vector<double> a(kRank * kColumns), b(kRows * kRank);
  for (auto& value : base) value = static_cast<float>(0.05 * gauss());
  for (auto& value : a) value = gauss() / std::sqrt(kColumns);
  for (auto& value : b) value = 0.01 * gauss();
  for (size_t i = 0; i < merged.size(); ++i) {
    double update = 0;
    for (size_t k = 0; k < kRank; ++k) update += b[i / kColumns * kRank + k] * a[k * kColumns + i % kColumns];
    merged[i] = base[i] + static_cast<float>(update);
  }
  for (const GgmlType type : {GgmlType::Q4_K, GgmlType::Q2_K}) {
    std::vector<std::byte> stored;
    encode(merged, type, stored);
    std::vector<float> found(merged.size());
    decode(stored, type, found);
    const DeltaSums sums = delta_sums(merged, base, stored, type, {});
    double update = 0, error = 0;  // |D x|^2 and |E x|^2 for x the rows of A, which are nearly orthogonal
    for (size_t k = 0; k < kRank; ++k) {
      for (size_t row = 0; row < kRows; ++row) {
        double of_update = 0, of_error = 0;
        for (size_t c = 0; c < kColumns; ++c) {
          const size_t i = row * kColumns + c;
          of_update += (static_cast<double>(merged[i]) - base[i]) * a[k * kColumns + c];
          of_error += (static_cast<double>(found[i]) - merged[i]) * a[k * kColumns + c];
        }
        update += of_update * of_update, error += of_error * of_error;
      }
    }
    const TensorSurvival tensor{.sums = sums, .columns_per_rank = double{kColumns} / kRank};
    EXPECT_NEAR(tensor.signal() / (update / error), 1, 0.15) << ggml_type_info(type).name;
  }
}

TEST(DeltaSurvival, TheWholeIsTheSumOfItsTensors) {
  const DeltaSurvival file{.tensors = {{"a", GgmlType::Q4_K, {.kept = 1, .update = 1, .change = 4, .error = 9}, 64},
                                       {"b", GgmlType::Q4_K, {.kept = 0, .update = 3, .change = 0, .error = 27}, 4}}};
  EXPECT_DOUBLE_EQ(file.total().survival(), 0.25);
  EXPECT_DOUBLE_EQ(file.total().noise(), 3);
  EXPECT_DOUBLE_EQ(file.signal(), (64 * 1 + 4 * 3) / 36.0);
  EXPECT_TRUE(file.is_nearly_gone());
  EXPECT_NE(file.sentence().find("25.0 % of the update is left"), std::string::npos) << file.sentence();
  EXPECT_NE(file.sentence().find("nearly gone in 1 of 2 tensors"), std::string::npos) << file.sentence();
  EXPECT_TRUE(DeltaSurvival{}.tensors.empty() && DeltaSurvival{}.total().survival() == 1);
}

}  // namespace
}  // namespace prentice
