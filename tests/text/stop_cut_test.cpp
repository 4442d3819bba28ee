#include "text/stop_cut.h"

#include <gtest/gtest.h>

namespace prentice {
namespace {

TEST(StopCut, NothingOfAStopTextIsShownHoweverItArrives) {
  struct Case {
    std::vector<std::string> words, pieces;
    std::string shown;
    bool stopped;
  };
  const Case cases[] = {
      {{}, {"all", " of it"}, "all of it", false},
      {{"END"}, {"one END two"}, "one ", true},
      {{"END"}, {"one E", "N", "D two", " three"}, "one ", true},
      {{"END"}, {"one EN", "D"}, "one ", true},
      {{"END"}, {"one EN", "OUGH"}, "one ENOUGH", false},
      {{"END"}, {"one EN"}, "one EN", false},
      {{"aab"}, {"xaa", "ab", "y"}, "xa", true},
      {{"\n\n", "User:"}, {"a\nb", "\nUs", "er: c"}, "a\nb\n", true},
      {{"b", "abc"}, {"xab", "c"}, "xa", true},
      {{"END"}, {"END"}, "", true},
      {{""}, {"kept"}, "kept", false},
  };
  for (const auto& c : cases) {
    StopCut cut(c.words);
    std::string shown;
    for (const auto& piece : c.pieces) shown += cut.push(piece);
    shown += cut.finish();
    EXPECT_EQ(shown, c.shown);
    EXPECT_EQ(cut.stopped(), c.stopped) << c.shown;
  }
}

// A person reads along: what cannot begin a stop text is not kept waiting.
TEST(StopCut, OnlyWhatMayBeginAStopTextIsHeldBack) {
  StopCut cut({"END"});
  EXPECT_EQ(cut.push("some text E"), "some text ");
  EXPECT_EQ(cut.push("x"), "Ex");
}

}  // namespace
}  // namespace prentice
