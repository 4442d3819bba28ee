#include "io/json.h"

#include <cmath>
#include <limits>

#include "io/file.h"
#include "io/scratch.h"

namespace prentice {
namespace {

using namespace std::string_literals;

// The classes of JSONTestSuite's y_ files.
TEST(Json, AcceptsWhatTheStandardAllows) {
  const std::string accepted[] = {"[[]   ]",
                                  "[\"\"]",
                                  "[]",
                                  "[\"a\"]",
                                  "[false]",
                                  "[null, 1, \"1\", {}]",
                                  "[null]",
                                  "[1\n]",
                                  " [1]",
                                  "[1,null,null,2]",
                                  "[2] ",
                                  "[-0]",
                                  "[-0.0]",
                                  "[0e+1]",
                                  "[0e1]",
                                  "[ 4]",
                                  "[-0.000000000000000000000000000001]\n",
                                  "[20e1]",
                                  "[-123]",
                                  "[-1]",
                                  "[1E22]",
                                  "[1E-2]",
                                  "[1E+2]",
                                  "[123e45]",
                                  "[123.456e78]",
                                  "[1e-2]",
                                  "[1e+2]",
                                  "[123.456789]",
                                  "{\"asd\":\"sdf\", \"dfg\":\"fgh\"}",
                                  "{\"asd\":\"sdf\"}",
                                  "{}",
                                  "{\"\":0}",
                                  "{\"foo\\u0000bar\": 42}",
                                  "{ \"min\": -1.0e+28, \"max\": 1.0e+28 }",
                                  "{\"x\":[{\"id\": \"xx\"}], \"id\": \"xx\"}",
                                  "{\"a\":[]}",
                                  "{\"title\":\"\\u041f\\u043e\" }",
                                  "{\n\"a\": \"b\"\n}",
                                  "[\"\\u0060\\u012a\\u12AB\"]",
                                  "[\"\\uD801\\udc37\"]",
                                  "[\"\\ud83d\\ude39\\ud83d\\udc8d\"]",
                                  "[\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"]",
                                  "[\"\\\\u0000\"]",
                                  "[\"\\\"\"]",
                                  "[\"a/*b*/c/*d//e\"]",
                                  "[\"\\\\a\"]",
                                  "[\"\\\\n\"]",
                                  "[\"\\u0012\"]",
                                  "[\"\\uFFFF\"]",
                                  "[\"asd\"]",
                                  "[ \"asd\"]",
                                  "[\"\\uDBFF\\uDFFF\"]",
                                  "[\"new\\u00A0line\"]",
                                  "[\"\xF4\x8F\xBF\xBF\"]",
                                  "[\"\xEF\xBF\xBF\"]",
                                  "[\"\\u0000\"]",
                                  "[\"\\u002c\"]",
                                  "[\"\xCF\x80\"]",
                                  "[\"\xF0\x9B\xBF\xBF\"]",
                                  "[\"asd \"]",
                                  "\" \"",
                                  "[\"\\uD834\\uDd1e\"]",
                                  "[\"\\u0821\"]",
                                  "[\"\\u0123\"]",
                                  "[\"\xE2\x80\xA8\"]",
                                  "[\"\xE2\x80\xA9\"]",
                                  "[\"\\u0061\\u30af\\u30EA\\u30b9\"]",
                                  "[\"new\\u000Aline\"]",
                                  "[\"\x7f\"]",
                                  "[\"\\uA66D\"]",
                                  "[\"\\u005C\"]",
                                  "[\"\xE2\x8D\x82\xE3\x88\xB4\xE2\x8D\x82\"]",
                                  "[\"\\u0022\"]",
                                  "[\"\\u200B\"]",
                                  "[\"\\u2064\"]",
                                  "[\"\\uFDD0\"]",
                                  "[\"\\uFFFE\"]",
                                  "[\"\xE2\x82\xAC\xF0\x9D\x84\x9E\"]",
                                  "[\"a\x7f"
                                  "a\"]",
                                  "false",
                                  "42",
                                  "-0.1",
                                  "null",
                                  "\"asd\"",
                                  "true",
                                  "[\"a\"]\n",
                                  "[true]",
                                  " [] "};
  for (const auto& text : accepted) EXPECT_NO_THROW(Json::parse(text)) << text;
}

// The classes of JSONTestSuite's n_ files.
TEST(Json, RefusesWhatTheStandardForbids) {
  const std::string refused[] = {"[1 true]",
                                 "[a\xe5]",
                                 "[\"\": 1]",
                                 "[\"\"],",
                                 "[,1]",
                                 "[1,,2]",
                                 "[\"x\",,]",
                                 "[\"x\"]]",
                                 "[\"\",]",
                                 "[\"x\"",
                                 "[x",
                                 "[3[4]]",
                                 "[\xff]",
                                 "[1:2]",
                                 "[,]",
                                 "[-]",
                                 "[   , \"\"]",
                                 "[\"a\",\n4\n,1,",
                                 "[1,]",
                                 "[1,,]",
                                 "[\"\va\"\\f]",
                                 "[*]",
                                 "[\"\"",
                                 "[1,",
                                 "[1,\n1\n,1",
                                 "[{}",
                                 "[fals]",
                                 "[nul]",
                                 "[tru]",
                                 "123\0"s,
                                 "[++1234]",
                                 "[+1]",
                                 "[+Inf]",
                                 "[-01]",
                                 "[-1.0.]",
                                 "[-2.]",
                                 "[-NaN]",
                                 "[.-1]",
                                 "[.2e-3]",
                                 "[0.1.2]",
                                 "[0.3e+]",
                                 "[0.3e]",
                                 "[0.e1]",
                                 "[0E+]",
                                 "[0E]",
                                 "[0e+]",
                                 "[0e]",
                                 "[1.0e+]",
                                 "[1.0e-]",
                                 "[1.0e]",
                                 "[1 000.0]",
                                 "[1eE2]",
                                 "[2.e+3]",
                                 "[2.e-3]",
                                 "[2.e3]",
                                 "[9.e+]",
                                 "[Inf]",
                                 "[NaN]",
                                 "[\xef\xbc\x91]",
                                 "[1+2]",
                                 "[0x1]",
                                 "[0x42]",
                                 "[Infinity]",
                                 "[0e+-1]",
                                 "[-123.123foo]",
                                 "[123\xe5]",
                                 "[1e1\xe5]",
                                 "[0\xe5]",
                                 "[-Infinity]",
                                 "[-foo]",
                                 "[- 1]",
                                 "[-012]",
                                 "[-.123]",
                                 "[-1x]",
                                 "[1ea]",
                                 "[1e\xe5]",
                                 "[1.]",
                                 "[.123]",
                                 "[1.2a-3]",
                                 "[1.8011670033376514H-308]",
                                 "[012]",
                                 "[\"x\", truth]",
                                 "{[: \"x\"}\n",
                                 "{\"x\", null}",
                                 "{\"x\"::\"b\"}",
                                 "{\xF0\x9F\x87\xA8}",
                                 "{\"a\":\"a\" 123}",
                                 "{key: 'value'}",
                                 "{\"\xb9\":\"0\",}",
                                 "{\"a\" b}",
                                 "{:\"b\"}",
                                 "{\"a\" \"b\"}",
                                 "{\"a\":",
                                 "{\"a\"",
                                 "{1:1}",
                                 "{9999E9999:1}",
                                 "{null:null,null:null}",
                                 "{\"id\":0,,,,,}",
                                 "{'a':0}",
                                 "{\"id\":0,}",
                                 "{\"a\":\"b\"}/**/",
                                 "{\"a\":\"b\"}/**//",
                                 "{\"a\":\"b\"}//",
                                 "{\"a\":\"b\"}/",
                                 "{\"a\":\"b\",,\"c\":\"d\"}",
                                 "{a: \"b\"}",
                                 "{\"a\":\"a",
                                 "{ \"foo\" : \"bar\", \"a\" }",
                                 "{\"a\":\"b\"}#",
                                 " ",
                                 "[\"\\uD800\\\"]",
                                 "[\"\\uD800\\u\"]",
                                 "[\"\\uD800\\u1\"]",
                                 "[\"\\uD800\\u1x\"]",
                                 "[\xc3\xa9]",
                                 "[\"\\\0\"]"s,
                                 "[\"\\x00\"]",
                                 "[\"\\\\\\\"]",
                                 "[\"\\\t\"]",
                                 "[\"\\\xF0\x9F\x8C\x80\"]",
                                 "[\"\\\"]",
                                 "[\"\\u00A\"]",
                                 "[\"\\uD834\\uDd\"]",
                                 "[\"\\uD800\\uD800\\x\"]",
                                 "[\"\\u\xe5\"]",
                                 "[\"\\a\"]",
                                 "[\"\\uqqqq\"]",
                                 "[\"\\\xe5\"]",
                                 "[\\u0020\"asd\"]",
                                 "[\\n]",
                                 "\"",
                                 "['single quote']",
                                 "abc",
                                 "[\"\\",
                                 "[\"a\0a\"]"s,
                                 "[\"new\nline\"]",
                                 "[\"\t\"]",
                                 "\"\\UA66D\"",
                                 "\"\"x",
                                 "[\xe2\x81\xa0]",
                                 "\xEF\xBB\xBF",
                                 "<.>",
                                 "[<null>]",
                                 "[1]x",
                                 "[1]]",
                                 "[\"asd]",
                                 "a\xc3\xa5",
                                 "[True]",
                                 "1]",
                                 "{\"x\": true,",
                                 "[][]",
                                 "]",
                                 "\xEF\xBB{}",
                                 "\xe5",
                                 "[",
                                 "",
                                 "[\0]"s,
                                 "2@",
                                 "{}}",
                                 "{\"\":",
                                 "{\"a\":/*comment*/\"b\"}",
                                 "{\"a\": true} \"x\"",
                                 "['",
                                 "[,",
                                 "[{",
                                 "[\"a",
                                 "[\"a\"",
                                 "{",
                                 "{]",
                                 "{,",
                                 "{[",
                                 "{\"a",
                                 "{'a'",
                                 "[\"\\{[\"\\{[\"\\{[\"\\{",
                                 "\xc3\xa9",
                                 "*",
                                 "{\"a\":\"b\"}#{}",
                                 "[\\u000A\"\"]",
                                 "[1",
                                 "[ false, nul",
                                 "[ true, fals",
                                 "[ false, tru",
                                 "{\"asd\":\"asd\"",
                                 "\xc2\xa0",
                                 "[\f]",
                                 "{\"a\":1}\0garbage"s,
                                 std::string(100000, '['),
                                 "[\"\xed\xa0\x80\"]",
                                 "[\"\xff\"]",
                                 "[\"\xc0\xaf\"]",
                                 "[\"\xe0\xff\"]",
                                 "{\"a\":\"b\",\"a\":\"c\"}",
                                 "{\"a\":1,\"\\u0061\":2}"};
  for (const auto& text : refused) {
    ExitCode code = ExitCode::ok;
    EXPECT_NE(message_of([&] { Json::parse(text); }, &code), "") << text.substr(0, 60);
    EXPECT_EQ(code, ExitCode::malformed) << text.substr(0, 60);
  }
}

TEST(Json, PointsAtTheOffendingByte) {
  struct Case {
    std::string text;
    int line, column;
    std::string message;
  };
  const Case cases[] = {
      {"{\n  \"a\": 1,\n  \"b\": 2,\n  \"a\": 3\n}", 4, 3, "duplicate key \"a\""},
      {"{\"ключ\": 1, \"ключ\": 2}", 1, 13, "duplicate key \"ключ\""},
      {"{\"a\\\"b\": 1,\n\"a\\\"b\": 2}", 2, 1, "duplicate key \"a\"b\""},
      {"[1,\n 2\n x]", 3, 2, "invalid literal"},
      {"[1, 2", 1, 6, "unexpected end of input"},
      {"[1] 2", 1, 5, "expected end of input"},
      {"[1,\0 2]"s, 1, 4, "NUL byte"},
  };
  for (const auto& [text, line, column, message] : cases) {
    try {
      Json::parse(text);
      ADD_FAILURE() << text;
    } catch (const Error& error) {
      const auto& found = error.diagnostics().front();
      EXPECT_EQ(found.line, line) << text << " " << found.message;
      EXPECT_EQ(found.column, column) << text << " " << found.message;
      EXPECT_TRUE(contains(found.message, message)) << found.message;
    }
  }
}

TEST(Json, RefusesDepthAndSizeBeyondItsBudgets) {
  const auto nested = [](int depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  EXPECT_NO_THROW(Json::parse(nested(256)));
  EXPECT_TRUE(contains(message_of([&] { Json::parse(nested(257)); }), "nested deeper than 256"));
  EXPECT_NO_THROW(Json::parse("[1, 2]", {.max_values = 3}));
  EXPECT_TRUE(contains(message_of([&] { Json::parse("[1, 2, 3]", {.max_values = 3}); }), "more than 3 values"));
}

TEST(Json, NumbersKeepTheirKind) {
  const auto json = Json::parse(
      R"({"i": 7, "n": -9223372036854775808, "u": 18446744073709551615, "d": 1e-5, "big": 1000000000000000019884624838656})");
  EXPECT_EQ(json.at("i").as_integer(), 7);
  EXPECT_EQ(json.at("i").as_number(), 7.0);
  EXPECT_EQ(json.at("n").as_integer(), std::numeric_limits<int64_t>::min());
  EXPECT_EQ(std::get<uint64_t>(json.at("u").value()), std::numeric_limits<uint64_t>::max());
  EXPECT_EQ(json.at("d").as_number(), 1e-5);
  EXPECT_EQ(json.at("big").kind(), "integer beyond 64 bits");
  EXPECT_EQ(
      json.dump(),
      R"({"i": 7, "n": -9223372036854775808, "u": 18446744073709551615, "d": 1e-05, "big": 1000000000000000019884624838656})");
  EXPECT_EQ(message_of([&] { json.at("d").as_integer(); }), "expected an integer, got number");
  EXPECT_EQ(message_of([&] { json.at("big").as_number(); }), "expected a number, got integer beyond 64 bits");
  EXPECT_EQ(message_of([&] { json.at("u").as_integer(); }), "expected an integer, got integer beyond 64 bits");
  EXPECT_EQ(message_of([&] { json.at("none"); }), "\"none\" is missing");
}

// Expected texts are what CPython's json.dumps(x, ensure_ascii=False) prints.
TEST(Json, DumpsAsPythonDoes) {
  const std::pair<double, const char*> numbers[] = {{0.1, "0.1"},
                                                    {1e-5, "1e-05"},
                                                    {1e16, "1e+16"},
                                                    {1e15, "1000000000000000.0"},
                                                    {123456789.0, "123456789.0"},
                                                    {0.0001, "0.0001"},
                                                    {-0.0, "-0.0"},
                                                    {5e-324, "5e-324"},
                                                    {1.7976931348623157e308, "1.7976931348623157e+308"},
                                                    {500000.0, "500000.0"},
                                                    {1.0 / 3, "0.3333333333333333"},
                                                    {1e22, "1e+22"},
                                                    {0.30000000000000004, "0.30000000000000004"},
                                                    {std::nan(""), "null"}};
  for (const auto& [value, text] : numbers) EXPECT_EQ(Json(value).dump(), text);
  const auto json = Json::parse("{\"a\":[1,{\"b\":[]}],\"c\":{},\"s\":\"\\\"\\\\\\n\\u001f\\u007f\xc3\xa9/\"}");
  EXPECT_EQ(json.dump(), "{\"a\": [1, {\"b\": []}], \"c\": {}, \"s\": \"\\\"\\\\\\n\\u001f\x7f\xc3\xa9/\"}");
  EXPECT_EQ(json.dump(2),
            "{\n  \"a\": [\n    1,\n    {\n      \"b\": []\n    }\n  ],\n  \"c\": {},\n  \"s\": "
            "\"\\\"\\\\\\n\\u001f\x7f\xc3\xa9/\"\n}");
}

TEST(Json, FileErrorsNameTheFile) {
  const Scratch scratch;
  write_file_durably(scratch / "bad.json", "{\"a\": 1,}");
  ExitCode code = ExitCode::ok;
  EXPECT_TRUE(message_of([&] { Json::parse_file(scratch / "bad.json"); }, &code)
                  .starts_with((scratch / "bad.json").string() + ":1:9: invalid JSON"));
  EXPECT_EQ(code, ExitCode::malformed);
  EXPECT_TRUE(
      contains(message_of([&] { Json::parse_file(scratch / "none.json"); }, &code), "none.json: does not exist"));
  EXPECT_EQ(code, ExitCode::usage);
}

TEST(Json, EditsKeepTheOrderOfMembers) {
  auto json = Json::parse(R"({"b": 1, "a": 2})");
  json["a"] = "x";
  json["c"].push_back(nullptr);
  EXPECT_EQ(json.dump(), R"({"b": 1, "a": "x", "c": [null]})");
  EXPECT_EQ(json.find("zz"), nullptr);
}

}  // namespace
}  // namespace prentice
