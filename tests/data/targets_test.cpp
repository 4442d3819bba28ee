#include "data/targets.h"

#include <gtest/gtest.h>

namespace prentice {
namespace {

TEST(SplitText, EveryTokenIsInOnePieceAndTheLastIsPredicted) {
  for (int32_t size = 1; size <= 13; ++size) {
    for (int64_t limit = 3; limit <= 6; ++limit) {
      TokenRow row;
      for (int32_t id = 0; id < size; ++id) row.ids.push_back(id), row.targets.push_back(1);
      std::vector<int32_t> together;
      const auto pieces = split_text(row, limit);
      for (const auto& piece : pieces) {
        EXPECT_LE(static_cast<int64_t>(piece.ids.size()), limit);
        together.insert(together.end(), piece.ids.begin(), piece.ids.end());
      }
      EXPECT_EQ(together, row.ids) << size << " tokens by " << limit;
      if (size > 1) EXPECT_GT(pieces.back().ids.size(), 1u) << size << " tokens by " << limit;
    }
  }
}

}  // namespace
}  // namespace prentice
