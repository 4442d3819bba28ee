#include "eval/scored_answers.h"

#include <gtest/gtest.h>

#include <fstream>

#include "io/scratch.h"

namespace prentice {
namespace {

TEST(ScoredAnswers, ThoseThatBecameRightComeFirst) {
  const Scratch scratch;
  std::ofstream(scratch / "before") << R"({"index":0,"prompt":"a","expected":"x","answer":"x"})"
                                    << "\n"
                                    << R"({"index":1,"prompt":"b","expected":"x","answer":"y"})"
                                    << "\n"
                                    << R"({"index":7,"prompt":"gone","expected":"x","answer":"y"})"
                                    << "\n";
  std::ofstream(scratch / "after") << R"({"index":0,"prompt":"a","expected":"x","answer":"y"})"
                                   << "\n"
                                   << R"({"index":1,"prompt":"b","expected":"x","answer":"x"})"
                                   << "\n";
  const auto answers = compare_answers(scratch / "before", scratch / "after");
  ASSERT_EQ(answers.size(), 2);
  EXPECT_EQ(answers[0].prompt, "b");
  EXPECT_EQ(answers[0].before, "y");
  EXPECT_EQ(answers[0].after, "x");
  EXPECT_EQ(answers[1].prompt, "a");
  EXPECT_TRUE(compare_answers(scratch / "nowhere", scratch / "after").empty());
}

}  // namespace
}  // namespace prentice
