#include "data/content.h"

#include <gtest/gtest.h>

namespace prentice {
namespace {

// int.from_bytes(hashlib.sha256(struct.pack("<6i", 5, 1, 300, -100, 300, 2)).digest()[:8], "little") and so on.
TEST(Content, IsTheHashOfIdsAndLabels) {
  Sequence sequence{.ids = {5, 1, 300}, .labels = {-100, 300, 2}};
  EXPECT_EQ(content_of(sequence), 1633307457676547894u);
  sequence.sample = 7, sequence.piece = 1, sequence.weights = {0, 1, 1};
  EXPECT_EQ(content_of(sequence), 1633307457676547894u) << "where it stands is not what it is";
  sequence.labels = {-100, -100, 2};
  EXPECT_EQ(content_of(sequence), 5956879805271806120u);
}

}  // namespace
}  // namespace prentice
