#include "core/shell_word.h"

#include <gtest/gtest.h>

namespace prentice {
namespace {

TEST(ShellWord, IsWhatAShellReadsBackAsTheText) {
  const std::pair<const char*, const char*> cases[] = {
      {"a-b/c.gguf", "a-b/c.gguf"},
      {"runs/x@120", "runs/x@120"},
      {"", "''"},
      {"my model", "'my model'"},
      {"it's", "'it'\\''s'"},
      {"$HOME `y`", "'$HOME `y`'"},
      {"a\nb", "'a\nb'"},
      {"train.lr=1e-3", "train.lr=1e-3"},
  };
  for (const auto& [text, word] : cases) EXPECT_EQ(shell_word(text), word);
}

}  // namespace
}  // namespace prentice
