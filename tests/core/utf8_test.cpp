#include "core/utf8.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace prentice {
namespace {

std::string encoded(uint32_t code, int bytes) {
  if (bytes == 1) return {static_cast<char>(code)};
  std::string text;
  for (int i = 0; i < bytes - 1; ++i, code >>= 6) text.insert(text.begin(), static_cast<char>(0x80 | (code & 0x3f)));
  text.insert(text.begin(), static_cast<char>((0xf00 >> bytes & 0xff) | code));
  return text;
}

// Every number that one to four bytes can carry: only the shortest form of a scalar value is a character.
TEST(Utf8, TheShortestFormOfEveryScalarValueAndNothingElseIsACharacter) {
  const uint32_t first_of_length[] = {0, 0, 0x80, 0x800, 0x10000};
  const uint32_t beyond[] = {0, 0x80, 0x800, 0x10000, 0x200000};
  for (int bytes = 1; bytes <= 4; ++bytes) {
    for (uint32_t code = 0; code < beyond[bytes]; ++code) {
      const bool good = code >= first_of_length[bytes] && code <= 0x10ffff && (code < 0xd800 || code > 0xdfff);
      const auto size = utf8_character_size(encoded(code, bytes), 0);
      ASSERT_EQ(size, good ? static_cast<size_t>(bytes) : 0u) << std::hex << code << " in " << bytes;
    }
  }
}

// The list is Python's: [i for i in range(0x110000) if chr(i).isspace()].
TEST(Utf8, BlankIsWhatPythonStripsAway) {
  std::set<uint32_t> spaces = {0x20, 0x85, 0xa0, 0x1680, 0x2028, 0x2029, 0x202f, 0x205f, 0x3000};
  for (uint32_t code = 0x9; code <= 0xd; ++code) spaces.insert(code);
  for (uint32_t code = 0x1c; code <= 0x1f; ++code) spaces.insert(code);
  for (uint32_t code = 0x2000; code <= 0x200a; ++code) spaces.insert(code);
  for (uint32_t code = 0; code < 0x10000; ++code) {
    const auto text = encoded(code, code < 0x80 ? 1 : code < 0x800 ? 2 : 3);
    EXPECT_EQ(is_blank(" " + text + "\n"), spaces.contains(code)) << std::hex << code;
  }
  EXPECT_TRUE(is_blank(""));
}

// Expected: Python's str.strip.
TEST(Utf8, StrippedTextLosesWhiteSpaceAtItsEndsAlone) {
  struct Case {
    const char *text, *stripped;
  };
  const Case cases[] = {{"", ""},
                        {" \t\u3000", ""},
                        {"a", "a"},
                        {"\r\n a\tb \v\f", "a\tb"},
                        {"\u00a0\u2028\u00fc \u20ac\u0085", "\u00fc \u20ac"},
                        {"\u200b ", "\u200b"},                // no white space, though it takes none
                        {" \xff\xe2\x80 ", "\xff\xe2\x80"}};  // nor is what is no character
  for (const auto& [text, expected] : cases) EXPECT_EQ(stripped(text), expected) << text;
}

TEST(Utf8, TheFirstFaultIsFoundAtAnyPlace) {
  const std::string good = "abcdefg\xC3\xA9 \xE2\x82\xAC 12345678901234567890";
  EXPECT_EQ(first_bad_utf8(good), std::string::npos);
  for (const std::string bad : {"\x80", "\xC3", "\xE2\x82", "\xED\xA0\x80", "\xFF"}) {
    for (size_t length : {0, 1, 6, 9, 17, 25}) {
      if (first_bad_utf8(good.substr(0, length)) != std::string::npos) continue;
      EXPECT_EQ(first_bad_utf8(good.substr(0, length) + bad), length);
      EXPECT_EQ(first_bad_utf8(bad + good.substr(0, length)), 0u);
    }
  }
  EXPECT_EQ(first_bad_utf8("\x80"
                           "abc",
                           1),
            std::string::npos);
}

TEST(Utf8, TextOfStrangeFilesIsMadeHarmless) {
  EXPECT_EQ(printable("plain \xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80"), "plain \xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80");
  EXPECT_EQ(printable("a\033[2Jb\n"), "a\\x1b[2Jb\\x0a");
  EXPECT_EQ(printable("\xFF\xC0\xAF"), "\\xff\\xc0\\xaf");
  EXPECT_EQ(printable("\xC2\x9B"), "\\xc2\\x9b");
  EXPECT_EQ(printable("\xED\xA0\x80"), "\\xed\\xa0\\x80");
}

// Where a text is shown from a byte on, no character is cut. The sixth byte is the middle one of U+672C.
TEST(Utf8, APartOfATextIsOfWholeCharacters) {
  const std::string text = "a\u6771\u672c\u4eac";
  EXPECT_EQ(whole_characters(text, 0, 100), text);
  EXPECT_EQ(whole_characters(text, 0, 0), "");
  EXPECT_EQ(whole_characters(text, 0, 6), "a\u6771");
  EXPECT_EQ(whole_characters(text, 0, 7), "a\u6771\u672c");
  EXPECT_EQ(whole_characters(text, 5, 3), "\u672c");
  EXPECT_EQ(whole_characters(text, 6, 5), "\u672c");
  EXPECT_EQ(whole_characters(text, 10, 5), "");
  EXPECT_EQ(whole_characters(text, 11, 5), "");
  EXPECT_EQ(whole_characters("\xe6\x9d b", 2, 5), " b");
  EXPECT_EQ(whole_characters("\x80\x80\x80\x80\x80", 4, 5), "\x80");
  EXPECT_EQ(whole_characters("\xff\xfe", 0, 1), "\xff");
}

}  // namespace
}  // namespace prentice
