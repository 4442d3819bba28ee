// How this program was built.
#include <gtest/gtest.h>

#include <cassert>

namespace prentice {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
TEST(BuildDeathTest, ASanitizedBuildChecksAssertions) {
  EXPECT_DEATH(assert(::testing::UnitTest::GetInstance() == nullptr), "GetInstance");
}
#endif

}  // namespace
}  // namespace prentice
