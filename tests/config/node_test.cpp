#include "config/node.h"

#include <gtest/gtest.h>

#include <chrono>

namespace prentice {
namespace {

std::string error_of(const std::string& text) {
  try {
    parse_yaml(text, "x.yaml");
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::usage);
    return to_string(error.diagnostics().front());
  }
  return "";
}

TEST(Node, KeepsTextQuotesOrderAndPlaces) {
  const Node root = parse_yaml("b: 1e-5\na:\n  - no\n  - \"no\"\n  - |\n    two\n    lines\n", "x.yaml");
  ASSERT_TRUE(root.is_map());
  EXPECT_EQ(root.members()[0].key, "b");
  EXPECT_EQ(root.members()[1].position.line, 2);
  EXPECT_EQ(root.members()[1].position.column, 1);
  const auto& items = root.at("a").items();
  EXPECT_EQ(items[0].text(), "no");
  EXPECT_FALSE(items[0].quoted());
  EXPECT_TRUE(items[1].quoted());
  EXPECT_EQ(items[1].position().line, 4);
  EXPECT_EQ(items[1].position().column, 5);
  EXPECT_EQ(items[2].text(), "two\nlines\n");
  EXPECT_DOUBLE_EQ(root.at("b").as_number(), 1e-5);
}

TEST(Node, AnAbsentValueStandsWhereItsKeyStands) {
  const Node root = parse_yaml("a:\nb: ~\nc: null\n", "x.yaml");
  for (int line = 1; line <= 3; ++line) {
    EXPECT_TRUE(root.members()[line - 1].value.is_null());
    EXPECT_EQ(root.members()[line - 1].value.position().line, line);
  }
}

TEST(Scalars, IntegersAreDecimalDigitsOnly) {
  for (const char* good : {"0", "7", "-3", "9223372036854775807", "-9223372036854775808"})
    EXPECT_TRUE(parse_integer(good)) << good;
  for (const char* bad : {"", "-", "+1", "01", "-01", "1_000", "1,000", "1.0", "1e3", "0x10", "0o17", " 1", "1 ",
                          "12:30", "9223372036854775808", "ten"}) {
    EXPECT_FALSE(parse_integer(bad)) << bad;
  }
}

TEST(Scalars, NumbersAreFiniteAndDecimal) {
  const std::pair<const char*, double> good[] = {{"1e-5", 1e-5},   {"2E+3", 2000},  {".5", 0.5}, {"5.", 5},
                                                 {"-0.25", -0.25}, {"1e-08", 1e-8}, {"16", 16}};
  for (const auto& [text, value] : good) EXPECT_EQ(parse_number(text), value) << text;
  for (const char* bad :
       {"", ".", "-", "e5", "1e", "1e+", "+1", "00.5", "1_0", "inf", ".inf", "nan", "0x1p3", "1e999", "1.2.3"}) {
    EXPECT_FALSE(parse_number(bad)) << bad;
  }
}

TEST(Scalars, BooleansAreTrueAndFalseOnly) {
  EXPECT_EQ(parse_bool("true"), true);
  EXPECT_EQ(parse_bool("false"), false);
  for (const char* bad : {"True", "yes", "no", "on", "off", "1", "0", "y", ""}) EXPECT_FALSE(parse_bool(bad)) << bad;
}

TEST(Scalars, NumbersAreWrittenShortAndReadBack) {
  const std::pair<double, const char*> table[] = {{2e-4, "2e-4"},
                                                  {1.5e-4, "1.5e-4"},
                                                  {-5e-4, "-5e-4"},
                                                  {0, "0"},
                                                  {0.001, "0.001"},
                                                  {1e-8, "1e-8"},
                                                  {5e-7, "5e-7"},
                                                  {1e22, "1e22"},
                                                  {0.1, "0.1"},
                                                  {16, "16"},
                                                  {1.0 / 3, "0.3333333333333333"}};
  for (const auto& [value, text] : table) {
    EXPECT_EQ(number_text(value), text);
    EXPECT_EQ(parse_number(text), value);
  }
}

TEST(Yaml, WhatIsWrittenReadsBackTheSame) {
  const char* hard[] = {"",
                        "no",
                        "null",
                        "~",
                        "1e-5",
                        "true",
                        "a: b",
                        "# x",
                        "- x",
                        " lead",
                        "trail ",
                        "tab\there",
                        "two\nlines\n",
                        "quote\"back\\slash",
                        "{{ x }}",
                        "[a",
                        "é \xE2\x82\xAC",
                        "*a",
                        "&a",
                        "!t",
                        "%",
                        "@x",
                        "`x",
                        "bell\x07",
                        "x: |",
                        "'single'",
                        "?",
                        "..."};
  for (const char* text : hard) {
    Node root = Node::map();
    root.set("section", Node::map()).set("key", Node::scalar(text, true));
    root.at("section");
    root.find("section")->set("list", Node::list({Node::scalar(text, true), Node::scalar("1")}));
    root.find("section")->set(*text ? text : "empty", Node::scalar("x"));
    const std::string yaml = to_yaml(root);
    const Node back = parse_yaml(yaml, "back.yaml");
    EXPECT_EQ(back.at("section").at("key").text(), text) << yaml;
    EXPECT_EQ(back.at("section").at("list").items()[0].text(), text) << yaml;
    EXPECT_EQ(to_yaml(back), yaml);
  }
}

TEST(Yaml, RefusesWhatARecipeDoesNotNeed) {
  const std::pair<std::string, const char*> table[] = {
      {"a: &x 1", "x.yaml:1:4: anchors (&name) are not allowed"},
      {"a: &x\n  b: 1", "x.yaml:1:4: anchors (&name) are not allowed"},
      {"&a [*a]", "x.yaml:1:1: anchors (&name) are not allowed"},
      {"a: *x", "x.yaml:1:4: aliases (*name) are not allowed"},
      {"a: !!int 3", "x.yaml:1:4: tags (!name) are not allowed"},
      {"a: !x {b: 1}", "x.yaml:1:4: tags (!name) are not allowed"},
      {"<<: {a: 1}", "x.yaml:1:1: merge keys (<<) are not allowed"},
      {"{a: 1, a: 2}", "x.yaml:1:8: key `a` is there twice, first on line 1"},
      {"a: 1\n'a': 2", "x.yaml:2:1: key `a` is there twice, first on line 1"},
      {"[a]: 1", "x.yaml:1:1: expected a word as key, got a list of 0"},
      {"? {a: 1}\n: 2", "x.yaml:1:3: expected a word as key, got a map"},
      {"a: 1\n---\nb: 2", "x.yaml:3:1: a second YAML document"},
      {std::string("a: \0b", 5), "x.yaml:1:4: a NUL byte"},
      {"a: \xED\xA0\x80", "x.yaml:1:4: bytes that are not UTF-8"},
      {"a: \xC0\xAF", "x.yaml:1:4: bytes that are not UTF-8"},
      {"a: \"x", "x.yaml:2:1: a quote that was opened before is never closed"},
      {"a: [1, 2", "x.yaml:2:1: this `[` is never closed by `]`"},
      {"a: b: c", "x.yaml:1:5: a `:` is not allowed here"},
      {"a:\n\tb: 1", "x.yaml:2:1: a tab in the indentation"},
      {"a: \"\\q\"", "x.yaml:1:7: an escape in double quotes that YAML does not know"},
      {"a: @x", "x.yaml:1:4: a character that starts no YAML value"},
  };
  for (const auto& [text, message] : table) EXPECT_EQ(error_of(text), message) << text;
}

TEST(Yaml, BombsFailFast) {
  std::string keys = "recipe: sft\n", nested, deep_block;
  for (int i = 0; i < 60000; ++i) keys += "k" + std::to_string(i) + ": 1\n";
  for (int i = 0; i < 100000; ++i) nested += "[a, ";
  for (int i = 1; i < 1000; ++i) deep_block += std::string(i, ' ') + "a:\n";
  const std::string bombs[] = {std::string(900000, '['),
                               nested,
                               keys,
                               deep_block,
                               "a: " + std::string(2 << 20, 'x'),
                               "a: &a [x]\nb: &b [*a, *a]\nc: [*b, *b]"};
  for (const auto& bomb : bombs) {
    const auto start = std::chrono::steady_clock::now();
    EXPECT_NE(error_of(bomb), "");
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(1));
  }
}

TEST(Yaml, AMissingFileIsAUsageError) {
  EXPECT_THROW(parse_yaml_file("does/not/exist.yaml"), Error);
  EXPECT_THROW(parse_yaml_file("."), Error);
}

}  // namespace
}  // namespace prentice
