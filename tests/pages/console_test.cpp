#include "pages/console.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <utility>

#include "data/encode.h"
#include "io/json.h"

namespace prentice {
namespace {

namespace fs = std::filesystem;

TEST(AlreadyDone, AGateThatWasMissedIsMissedAgain) {
  const fs::path out = fs::temp_directory_path() / ("prentice_done_" + std::to_string(getpid()));
  fs::create_directories(out);
  const Invocation inner{.inner = true};
  const auto status_with = [&](const std::string& gates) {
    std::ofstream(out / "eval.json") << R"({"gates": [)" + gates + "]}";
    return already_done(out, inner);
  };
  const std::string missed = R"({"metric": "loss", "bound": 0.5, "value": 1.5, "passed": false})";
  const std::string met = R"({"metric": "accuracy", "bound": 0.5, "value": 0.75, "passed": true})";
  EXPECT_EQ(already_done(out, inner), 0);  // nothing was evaluated
  EXPECT_EQ(status_with(""), 0);
  EXPECT_EQ(status_with(met), 0);
  EXPECT_EQ(status_with(met + ", " + missed), 9);
  fs::remove_all(out);
}

TEST(AlreadyDone, NamesAComparisonThatDidNotPassWhereProgramsLook) {
  const fs::path out = fs::temp_directory_path() / ("prentice_compared_" + std::to_string(getpid()));
  fs::create_directories(out);
  const auto told_of = [&](const char* passed) {
    std::ofstream(out / "compare.json") << R"({"summary": "b is worse: loss +1", "passed": )" << passed << "}";
    testing::internal::CaptureStdout();
    const int status = already_done(out, {.json = true});
    return std::pair(status, Json::parse(testing::internal::GetCapturedStdout()).at("missed_gates").dump());
  };
  EXPECT_EQ(told_of("false"), std::pair(9, std::string(R"(["b is worse: loss +1"])")));
  EXPECT_EQ(told_of("true"), std::pair(0, std::string("[]")));
  fs::remove_all(out);
}

TEST(OverlapWarning, IsOneLineHoweverManyRows) {
  TrainEvalSets sets;
  sets.eval.emplace();
  sets.eval->examples.resize(40);
  EXPECT_EQ(overlap_warning(sets), "");
  for (int i = 1; i <= 40; ++i) sets.overlap.push_back("a:" + std::to_string(i) + " = b:" + std::to_string(i));
  EXPECT_EQ(overlap_warning(sets),
            "40 of 40 held-out rows are training rows, too: a:1 = b:1, a:2 = b:2, a:3 = b:3, ...");
}

}  // namespace
}  // namespace prentice
