#include "core/host.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <vector>

namespace prentice {
namespace {

TEST(Host, TellsWhatTheProcessHolds) {
  const uint64_t before = process_bytes("RssAnon");
  ASSERT_GT(before, 0U);
  const std::vector<char> held(size_t{64} << 20, 'x');
  EXPECT_EQ(held.back(), 'x');
  EXPECT_GE(process_bytes("RssAnon"), before + (size_t{60} << 20));
  EXPECT_GE(process_bytes("VmHWM"), process_bytes("VmRSS"));
  for (const char* field : {"", "Vm", "VmRS", "VmRSS:", "NoSuchField"}) EXPECT_EQ(process_bytes(field), 0U) << field;
}

TEST(Host, AMemoryLimitLiesBelowTheMachine) {
  EXPECT_GT(host_memory_bytes(), process_bytes("VmRSS"));
  if (memory_limit_bytes() > 0) {
    EXPECT_EQ(host_memory_bytes(), memory_limit_bytes());
  }
  EXPECT_GE(quota_cores(), 0);
}

TEST(Host, KnowsTheProgramsFile) { EXPECT_EQ(program_file().filename(), "test_core"); }

TEST(Host, APipeHasNoColour) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  ::setenv("TERM", "xterm", 1);
  EXPECT_FALSE(has_colour(ends[1]));
  ::close(ends[0]), ::close(ends[1]);
}

}  // namespace
}  // namespace prentice
