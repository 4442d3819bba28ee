#include "distill/distill_states.h"

#include <gtest/gtest.h>

namespace prentice {
namespace {

TEST(DistillStates, LayersAreSpacedEvenlyAndTheLastMeetsTheLast) {
  const auto pairs = [](int64_t student, int64_t teacher, std::map<std::string, int64_t> map = {}) {
    DistillSection section;
    section.layer_map = std::move(map);
    return layer_pairs(section, student, teacher);
  };
  using Pairs = std::vector<LayerPair>;
  EXPECT_EQ(pairs(2, 4), (Pairs{{0, 1}, {1, 3}}));
  EXPECT_EQ(pairs(3, 3), (Pairs{{0, 0}, {1, 1}, {2, 2}}));
  EXPECT_EQ(pairs(2, 3), (Pairs{{0, 0}, {1, 2}}));
  EXPECT_EQ(pairs(4, 2), (Pairs{{1, 0}, {3, 1}}));
  EXPECT_EQ(pairs(16, 32).back(), (LayerPair{15, 31}));
  EXPECT_EQ(pairs(12, 24, {{"10", 20}, {"9", 18}}), (Pairs{{9, 18}, {10, 20}}));  // by number, not by word
}

TEST(DistillStates, ProjectionsAreCountedWhereWidthsDiffer) {
  ModelSpec student, teacher;
  student.layers = 2, student.hidden = 3, teacher.layers = 4, teacher.hidden = 5;
  EXPECT_EQ(projection_elements({}, student, teacher), 2 * 15);
  const StateMatch match({.loss = DistillLoss::hidden_mse}, student, teacher, 1, at::kCPU);
  ASSERT_EQ(match.projections().size(), 2u);
  EXPECT_EQ(match.projections()[1].first, "distill.projection.1.3");
  EXPECT_EQ(match.projections()[1].second.sizes(), (std::vector<int64_t>{5, 3}));
  teacher.hidden = 3;
  EXPECT_EQ(projection_elements({}, student, teacher), 0);
  EXPECT_TRUE(StateMatch({.loss = DistillLoss::hidden_mse}, student, teacher, 1, at::kCPU).projections().empty());
}

}  // namespace
}  // namespace prentice
