#include "recipes/console.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

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
