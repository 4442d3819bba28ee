#include "io/json.h"

#include <cmath>
#include <limits>

#include "io/file.h"
#include "io/scratch.h"

namespace prentice {
namespace {

using namespace std::string_literals;

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
