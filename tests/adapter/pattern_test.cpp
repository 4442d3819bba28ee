#include "adapter/pattern.h"

#include <gtest/gtest.h>

#include "adapter/targets.h"
#include "core/error.h"
#include "io/scratch.h"

namespace prentice {
namespace {

const std::string kName = "model.layers.12.self_attn.q_proj";

TEST(Pattern, MatchesWholeNamesAsPythonDoes) {
  struct Row {
    const char* pattern;
    bool matches;  // of kName; by re.fullmatch
  };
  const Row rows[] = {
      {R"(.*)", true},
      {R"(.*q_proj)", true},
      {R"(q_proj)", false},
      {R"(model.layers.12.self_attn.q_proj)", true},
      {R"(model\.layers\.\d+\.self_attn\.(q|v)_proj)", true},
      {R"(model\.layers\.\d\.self_attn\.(q|v)_proj)", false},
      {R"(.*\.(?:k|v)_proj)", false},
      {R"(.*\.[qkv]_proj)", true},
      {R"(.*\.[^kv]_proj)", true},
      {R"(.*\.[a-p]_proj)", false},
      {R"(^model.*proj$)", true},
      {R"(\Amodel.*proj\Z)", true},
      {R"((?!.*lm_head).*)", true},
      {R"((?!.*q_proj).*)", false},
      {R"((?=model).*_proj)", true},
      {R"(.*layers\.(1[0-5]|2\d)\..*)", true},
      {R"(.*layers\.\d{2}\..*)", true},
      {R"(.*layers\.\d{3,}\..*)", false},
      {R"(.*layers\.\d{,2}\..*)", true},
      {R"(.*?\.layers\.(?P<index>\d+)\..*)", true},
      {R"((\w+\.){3}\w+\.\w+)", true},
      {R"((\w+\.)+?\w+)", true},
      {R"([\w.]+)", true},
      {R"([\D]+)", false},
      {R"(model(\.\S+)*)", true},
      {R"()", false},
      {R"(|.*)", true},
      {R"((a|b|)*model.*)", true},
      {R"(model{1}.*)", true},
      {R"((){100000}.*)", true},
  };
  for (const Row& row : rows) EXPECT_EQ(Pattern(row.pattern).matches(kName), row.matches) << row.pattern;
  EXPECT_TRUE(Pattern("a{b}").matches("a{b}"));
  EXPECT_TRUE(Pattern("a{,}").matches("a{,}"));
  EXPECT_TRUE(Pattern(R"([]a-]+)").matches("]-a"));
}

std::string refusal(const std::string& pattern, const std::string& text) {
  ExitCode code = ExitCode::malformed;
  const std::string message = message_of([&] { Pattern(pattern).matches(text); }, &code);
  EXPECT_EQ(code, ExitCode::malformed);
  return message;
}

TEST(Pattern, RefusesWhatItCannotReadByPosition) {
  struct Row {
    std::string pattern, message;
  };
  const Row rows[] = {
      {"(q_proj", "regular expression '(q_proj', position 7: missing ')'"},
      {"q_proj)", "regular expression 'q_proj)', position 6: unbalanced ')'"},
      {"*proj", "regular expression '*proj', position 0: nothing to repeat"},
      {"a|+", "regular expression 'a|+', position 2: nothing to repeat"},
      {"^*a", "regular expression '^*a', position 2: nothing to repeat"},
      {"a**", "regular expression 'a**', position 2: a repeat of a repeat"},
      {"[qk", "regular expression '[qk', position 3: missing ']'"},
      {"[z-a]", "regular expression '[z-a]', position 4: a range that runs backwards"},
      {"[\\d-z]", "regular expression '[\\d-z]', position 5: a class as the end of a range"},
      {"a{3,1}", "regular expression 'a{3,1}', position 1: the least count is above the largest"},
      {"(?<=a)b",
       "regular expression '(?<=a)b', position 1: this kind of group is not supported (look-behind, flags, "
       "back references)"},
      {"(?i)q",
       "regular expression '(?i)q', position 1: this kind of group is not supported (look-behind, flags, back "
       "references)"},
      {"(a)\\1", "regular expression '(a)\\1', position 4: the escape \\1 is not supported"},
      {"\\bq", "regular expression '\\bq', position 1: the escape \\b is not supported"},
      {"q\\", "regular expression 'q\\', position 2: a backslash at the end"},
      {std::string(70, '(') + std::string(70, ')'), "regular expression '" + std::string(70, '(') +
                                                        std::string(70, ')') +
                                                        "', position 65: more than 64 groups inside each other"},
  };
  for (const Row& row : rows) EXPECT_EQ(refusal(row.pattern, kName), row.message);
  EXPECT_NE(refusal(std::string(5000, 'a'), kName).find("longer than 4096 bytes"), std::string::npos);
}

TEST(Pattern, HostileExpressionsEndWithAnErrorNotAHang) {
  const std::string text(60, 'a');
  EXPECT_EQ(refusal("(a*)*b", text), "regular expression '(a*)*b': takes too many steps on '" + text + "'");
  EXPECT_EQ(refusal("(a|a)*b", text), "regular expression '(a|a)*b': takes too many steps on '" + text + "'");
  EXPECT_NE(refusal("(x?){900000}a*", std::string(20, 'a')), "hang");
  refusal("(a|b)*", std::string(100000, 'a'));  // deep, not long: must not overflow the stack
}

TEST(Targets, EndPatternsMatchTheEndOfAName) {
  EXPECT_TRUE(end_pattern("q_proj").matches(kName));
  EXPECT_FALSE(end_pattern("_proj").matches(kName));  // not a whole part
  EXPECT_TRUE(end_pattern("self_attn.q_proj").matches(kName));
  EXPECT_TRUE(end_pattern("layers.12.*q_proj").matches(kName));
  EXPECT_FALSE(end_pattern("layers.1.self_attn.q_proj").matches(kName));
  EXPECT_EQ(value_for<int64_t>(kName, {{"k_proj", 2}, {"q_proj", 3}, {".*", 4}}, 1), 3);  // the first that matches
  EXPECT_EQ(value_for<int64_t>(kName, {{"k_proj", 2}}, 1), 1);
}

TEST(Targets, TheLayerIsTheFirstNumberBehindAName) {
  EXPECT_EQ(layer_of(kName, {}), 12);
  EXPECT_EQ(layer_of(kName, {"layers"}), 12);
  EXPECT_EQ(layer_of(kName, {"h"}), std::nullopt);
  EXPECT_EQ(layer_of("model.layers.1.experts.7.up", {}), 1);
  EXPECT_EQ(layer_of("lm_head", {}), std::nullopt);
  EXPECT_EQ(layer_of("layers.3.q", {}), std::nullopt);  // PEFT wants something before the container
  EXPECT_EQ(layer_of("layers.3.q", {"layers"}), 3);
}

}  // namespace
}  // namespace prentice
