#include <gtest/gtest.h>

#include "core/error.h"

namespace prentice {
namespace {

TEST(ClosestMatch, FindsSlipsOfTheHandAndNothingElse) {
  const std::vector<std::string> keys = {"batch", "batch_tokens", "epochs", "lr", "learning"};
  const std::pair<const char*, const char*> cases[] = {
      {"bacth", "batch"},  // two letters swapped: one slip
      {"batc", "batch"},    {"bbatch", "batch"}, {"bstch", "batch"},         {"epcohs", "epochs"},
      {"rl", "lr"},         {"xyzzy", ""},       {"leanring", "learning"},   {"BATCH", "batch"},
      {"Epcohs", "epochs"}, {"epo", "epochs"},   {"batch_", "batch_tokens"}, {"ba", ""},  // cut off
  };
  for (const auto& [word, expected] : cases) EXPECT_EQ(closest_match(word, keys), expected) << word;
}

}  // namespace
}  // namespace prentice
