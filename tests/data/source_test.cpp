#include "data/source.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>

#include "data/csv.h"
#include "data/slices.h"
#include "data/utf8_fault.h"
#include "io/scratch.h"

namespace prentice {
namespace {

std::string write(const Scratch& scratch, const std::string& name, const std::string& text) {
  std::ofstream(scratch / name, std::ios::binary) << text;
  return (scratch / name).string();
}

// The records of a file as JSON lines with their line numbers.
std::string records_of(const std::string& path, SourceOptions options = {.threads = 2}) {
  Problems problems;
  const auto source = read_source(path, options, problems);
  problems.throw_if_any();
  std::string out;
  for (const auto& record : source.records) out += std::to_string(record.line) + " " + record.value.dump() + "\n";
  return out;
}

struct GoodFile {
  std::string name, text, expected;
};

TEST(Source, ReadsEveryKindOfFile) {
  const std::vector<GoodFile> files = {
      {"a.jsonl", "{\"a\": 1}\n\n{\"a\": 2}", "1 {\"a\": 1}\n3 {\"a\": 2}\n"},
      {"crlf.jsonl", "{\"a\": 1}\r\n{\"a\": 2}\r\n", "1 {\"a\": 1}\n2 {\"a\": 2}\n"},
      {"bom.jsonl", "\xEF\xBB\xBF{\"a\": 1}\n", "1 {\"a\": 1}\n"},
      {"lines.json", "{\"a\": 1}\n{\"a\": 2}\n", "1 {\"a\": 1}\n2 {\"a\": 2}\n"},
      {"array.json", "[\n {\"a\": [1, \"]\"]},\n\n {\"a\": \"\\\"}\"}\n]\n",
       "2 {\"a\": [1, \"]\"]}\n4 {\"a\": \"\\\"}\"}\n"},
      {"array.jsonl", "[{\"a\": 1}]", "1 {\"a\": 1}\n"},
      {"one_array.json", "{\"version\": 2,\n\"data\": [{\"a\": 1}]}", "2 {\"a\": 1}\n"},
      {"no_extension", "{\"a\": 1}\n{\"a\": 2}\n", "1 {\"a\": 1}\n2 {\"a\": 2}\n"},
      {"t.csv", "q,a\nwhy,\"because, he said \"\"so\"\"\"\n",
       "2 {\"q\": \"why\", \"a\": \"because, he said \\\"so\\\"\"}\n"},
      {"break.csv", "q,a\r\n\"two\r\nlines\",x\r\nnext,y\r\n",
       "2 {\"q\": \"two\\r\\nlines\", \"a\": \"x\"}\n4 {\"q\": \"next\", \"a\": \"y\"}\n"},
      {"quote.csv", "size,a\n5\" disk,ok\n", "2 {\"size\": \"5\\\" disk\", \"a\": \"ok\"}\n"},
      {"empty_fields.csv", "a,b,c\n,,\n", "2 {\"a\": \"\", \"b\": \"\", \"c\": \"\"}\n"},
      {"bom.csv", "\xEF\xBB\xBFq,a\n1,2\n", "2 {\"q\": \"1\", \"a\": \"2\"}\n"},
      {"semicolon.csv", "q;a\n1,5;2\n", "2 {\"q\": \"1,5\", \"a\": \"2\"}\n"},
      {"t.tsv", "q\ta\nx, y\tz\n", "2 {\"q\": \"x, y\", \"a\": \"z\"}\n"},
      {"t.txt", "One.\nTwo.\n", "1 {\"text\": \"One.\\nTwo.\\n\"}\n"},
      {"bracket.txt", "[not JSON]", "1 {\"text\": \"[not JSON]\"}\n"},
  };
  const Scratch scratch;
  for (const auto& file : files) {
    EXPECT_EQ(message_of([&] { EXPECT_EQ(records_of(write(scratch, file.name, file.text)), file.expected); }), "")
        << file.name;
  }
}

TEST(Source, LinesOfATextFileAreRecordsWhenAskedFor) {
  const Scratch scratch;
  const auto path = write(scratch, "t.txt", "One.\r\n\r\n  \nTwo.");
  EXPECT_EQ(records_of(path, {.lines = true}), "1 {\"text\": \"One.\"}\n4 {\"text\": \"Two.\"}\n");
  EXPECT_EQ(records_of(path, {.lines = true, .limit = 1}), "1 {\"text\": \"One.\"}\n");
}

TEST(Source, TheLimitStopsEveryKindOfFile) {
  const Scratch scratch;
  EXPECT_EQ(records_of(write(scratch, "a.jsonl", "{}\n{}\nnot read"), {.limit = 2}), "1 {}\n2 {}\n");
  EXPECT_EQ(records_of(write(scratch, "a.csv", "a\n1\n2\n3,4\n"), {.limit = 2}),
            "2 {\"a\": \"1\"}\n3 {\"a\": \"2\"}\n");
  EXPECT_EQ(records_of(write(scratch, "a.json", "[1, 2, 3]"), {.limit = 1}), "1 1\n");
}

struct BadFile {
  std::string name, text, message;  // of the error, after the folder
  ExitCode code = ExitCode::data;
};

TEST(Source, EveryBadFileSaysWhatIsWrongWhere) {
  const std::vector<BadFile> files = {
      {"empty.jsonl", "", "empty.jsonl: the file holds no records"},
      {"blank.jsonl", "\n  \n", "blank.jsonl: the file holds no records"},
      {"none.json", "[]", "none.json: the file holds no records"},
      {"header.csv", "a,b\n", "header.csv: the file holds no records"},
      {"cut.jsonl", "{\"a\": 1}\n{\"a\": ", "cut.jsonl:2:"},
      {"twice.jsonl", "{\"a\": 1, \"a\": 2}", "twice.jsonl:1:10: duplicate key \"a\""},
      {"second.json", "[\n{\"a\": 1},\n  {\"a\" 2}\n]", "second.json:3:"},
      {"open.json", "[{\"a\": 1}", "open.json:1:"},
      {"trailing.json", "[{\"a\": 1}] x", "trailing.json:1:"},
      {"comma.json", "[{\"a\": 1},]", "comma.json:1:"},
      {"number.json", "17", "number.json: expected an array of records, got integer"},
      {"object.json", "{\"a\": 1}", "object.json: expected an array of records, got an object without one"},
      {"two.json", "{\"train\": [], \"test\": []}",
       "two.json: expected one array of records, got an object with 2: train, test"},
      {"nan.jsonl", "{\"a\": NaN}", "nan.jsonl:1:"},
      {"latin.jsonl", "{\"a\": 1}\n{\"a\": \"caf\xE9\"}\n",
       "latin.jsonl:2: not UTF-8 at byte 19: E9 22 7D is no character"},
      {"cesu.txt", "ok\n\xED\xA0\xBD\xED\xB8\x80",
       "cesu.txt:2: not UTF-8 at byte 3: ED A0 BD is half of a UTF-16 surrogate pair (CESU-8)"},
      {"utf16.csv", std::string("\xFF\xFEq\0", 4), "utf16.csv: the file is UTF-16 text, not UTF-8"},
      {"zero.txt", std::string("a\0b", 3), "zero.txt: expected text, got a zero byte at offset 1"},
      {"ragged.csv", "a,b\n1,2\n3\n4,5,6\n",
       "ragged.csv:3: expected 2 fields as in the header, got 1\nragged.csv:4: expected 2 fields as in the header, got "
       "3"},
      {"open.csv", "a,b\n1,2\n\"3,4\n5,6\n", "open.csv:3: a quoted field that begins in this row is never closed"},
      {"glued.csv", "a,b\n\"1\"x,2\n3,4\n", "glued.csv:2: expected a separator after the closing quote, got 'x'"},
      {"names.csv", "a,b,a\n1,2,3\n", "names.csv:1: two columns are named \"a\""},
      {"z.jsonl.gz", "\x1f\x8b..", "z.jsonl.gz: the file is compressed (gzip)"},
  };
  const Scratch scratch;
  const auto prefix = scratch.path().string() + "/";
  for (const auto& file : files) {
    ExitCode code = ExitCode::ok;
    auto message = message_of([&] { records_of(write(scratch, file.name, file.text)); }, &code);
    for (size_t at; (at = message.find(prefix)) != std::string::npos;) message.erase(at, prefix.size());
    EXPECT_EQ(code, file.code) << file.name;
    EXPECT_TRUE(message.starts_with(file.message)) << "wanted " << file.message << "\ngot    " << message;
  }
}

TEST(Source, EveryBadRecordOfAnArrayIsToldAtOnce) {
  const std::string good = "{\"a\": 1}";
  struct Case {
    std::vector<std::string> records;
    std::vector<int> lines;  // that are told
  };
  const Case cases[] = {
      {{good + ",", "{\"a\": tru},", good + ",", "{\"a\" 1},", "{\"a\": 1, \"a\": 2}"}, {3, 5, 6}},
      {{"{\"a\": 1,", good + ",", "{\"a\": [1, 2},", good + ",", "{\"a\": \"x},", good}, {2, 4, 6}},
      {{"\"a\": 1},", good + ",", "{\"a\": 1}},", good}, {2, 4}},
      {{good, good + ",", "{\"a\": [},", good}, {3, 4}},
      {{good + ",", good + ",", "{\"a\": \"x"}, {4}},
  };
  for (const std::string indent : {"", "  "}) {
    for (const auto& [records, lines] : cases) {
      const Scratch scratch;
      std::string text = "[\n";
      for (const auto& record : records) text += indent + record + "\n";
      const auto path = write(scratch, "rows.json", text + "]\n");
      Problems problems;
      const auto source = read_source(path, {.threads = 2}, problems);
      std::vector<int> told;
      try {
        problems.throw_if_any();
      } catch (const Error& error) {
        for (const auto& diagnostic : error.diagnostics()) told.push_back(diagnostic.line);
      }
      std::ranges::sort(told);
      EXPECT_EQ(told, lines) << text;
      EXPECT_EQ(source.total, static_cast<int64_t>(records.size())) << text;
    }
  }
}

TEST(Source, AMissingPathIsTheUsersMistake) {
  ExitCode code = ExitCode::ok;
  EXPECT_TRUE(contains(message_of([] { records_of("no/such/rows.jsonl"); }, &code), "no/such/rows.jsonl"));
  EXPECT_EQ(code, ExitCode::usage);
  const Scratch scratch;
  message_of([&] { records_of(scratch.path().string()); }, &code);
  EXPECT_EQ(code, ExitCode::usage);
}

TEST(Source, RecordsThatAreBadInTheSameWordsAreToldOnceWithTheirLines) {
  const Scratch scratch;
  std::string text;
  for (int i = 0; i < 1000; ++i) text += i % 4 == 0 ? "{bad\n" : "{}\n";
  try {
    records_of(write(scratch, "a.jsonl", text));
    ADD_FAILURE();
  } catch (const Error& error) {
    ASSERT_EQ(error.diagnostics().size(), 1u);
    EXPECT_EQ(error.diagnostics()[0].line, 1);
    EXPECT_TRUE(error.diagnostics()[0].message.ends_with(" (250 in all: also lines 5, 9, 13, 17, 21, 25, 29, ...)"))
        << error.what();
  }
}

TEST(Problems, TwentyDifferentOnesAreShownInFileOrderAndAllAreCounted) {
  const auto add = [](Problems& to, const std::string& file, int64_t line, std::string message) {
    to.add({.file = file, .line = line}, {.message = std::move(message)});
  };
  Problems problems, later;
  for (int i = 0; i < 15; ++i) add(problems, "b.jsonl", 2 * i + 1, fmt::format("odd {}", i));
  add(later, "a.jsonl", 4, "other");
  for (int i = 0; i < 15; ++i) add(later, "b.jsonl", 2 * i + 2, i % 3 == 0 ? "same" : fmt::format("even {}", i));
  problems.merge(later);
  std::vector<std::string> lines;
  try {
    problems.throw_if_any();
  } catch (const Error& error) {
    for (const auto& diagnostic : error.diagnostics()) lines.push_back(to_string(diagnostic));
  }
  ASSERT_EQ(lines.size(), 21u);
  EXPECT_EQ(lines[0], "b.jsonl:1: odd 0");
  EXPECT_EQ(lines[1], "b.jsonl:2: same (5 in all: also lines 8, 14, 20, 26)");
  EXPECT_EQ(lines[2], "b.jsonl:3: odd 1");
  EXPECT_EQ(lines[19], "a.jsonl:4: other");
  EXPECT_EQ(lines[20], "and 7 more, 31 in all");
}

TEST(Source, ThreadsDoNotChangeWhatIsRead) {
  const Scratch scratch;
  std::string text;
  for (int i = 0; i < 3000; ++i) text += "{\"i\": " + std::to_string(i) + "}\n";
  const auto path = write(scratch, "a.jsonl", text);
  EXPECT_EQ(records_of(path, {.threads = 1}), records_of(path, {.threads = 7}));
}

TEST(Utf8, FindsWhatIsNoCharacter) {
  struct Case {
    std::string text;
    int64_t offset;  // -1 = none
  };
  const std::vector<Case> cases = {{"", -1},
                                   {"plain ASCII that is longer than a word", -1},
                                   {"\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80", -1},
                                   {"\xEF\xBF\xBF\xED\x9F\xBF\xEE\x80\x80\xF4\x8F\xBF\xBF", -1},
                                   {"a\x80", 1},
                                   {"12345678\xC3", 8},
                                   {"\xC0\xAF", 0},          // overlong
                                   {"\xE0\x80\xAF", 0},      // overlong
                                   {"\xF0\x80\x80\xAF", 0},  // overlong
                                   {"ok\xED\xA0\x80", 2},    // surrogate
                                   {"\xF4\x90\x80\x80", 0},  // above U+10FFFF
                                   {"\xF5\x80\x80\x80", 0},
                                   {"\xE2\x82", 0}};
  for (const auto& c : cases) {
    const auto fault = find_utf8_fault(c.text);
    EXPECT_EQ(fault ? static_cast<int64_t>(fault->offset) : -1, c.offset) << c.text;
  }
}

TEST(Slices, KnowTheLineThatTheyBeginIn) {
  const std::string text = "[\n {\"a\": \"x\"}, [1,\n2],\n\n  3 , \"y\"\n, {bad} {\"c\": 4}]";
  const auto array = cut_broken_array(text);
  auto slices = array.elements;
  slices.insert(slices.end(), array.unseparated.begin(), array.unseparated.end());
  const auto lines = line_slices(text);
  slices.insert(slices.end(), lines.begin(), lines.end());
  ASSERT_GT(slices.size(), 10u);
  for (const auto& slice : slices) {
    const std::string before = text.substr(0, slice.begin);
    EXPECT_EQ(slice.line_begin, before.rfind('\n') + 1) << slice.begin;  // npos + 1 is the first byte
    EXPECT_EQ(slice.line, 1 + std::ranges::count(before, '\n')) << slice.begin;
  }
}

TEST(Slices, AgreeWithTheJsonReaderOnWhereRecordsEnd) {
  const std::string text = " [ {\"a\":\"[\\\\\"}, [1,{\"b\":[]}] ,\n\"x,]\", -1.5e3, null ]  ";
  const auto layout = json_layout(text);
  ASSERT_TRUE(layout);
  ASSERT_EQ(layout->arrays.size(), 1u);
  const auto whole = Json::parse(text);
  ASSERT_EQ(layout->arrays[0].second.size(), whole.as_array().size());
  for (size_t i = 0; i < whole.as_array().size(); ++i) {
    const auto& slice = layout->arrays[0].second[i];
    EXPECT_EQ(Json::parse(text.substr(slice.begin, slice.end - slice.begin)), whole.as_array()[i]);
  }
  for (const std::string bad : {"[1,,2]", "[1 2]", "[1", "{\"a\":[1}", "{a:1}", "[\"a]", "]", "[{]}", ""}) {
    const auto found = json_layout(bad);
    // What the scanner lets through must fail in a slice.
    bool caught = !found;
    for (const auto& [name, slices] : found ? found->arrays : decltype(found->arrays){}) {
      for (const auto& slice : slices) {
        caught |= !message_of([&] { Json::parse(bad.substr(slice.begin, slice.end - slice.begin)); }).empty();
      }
    }
    EXPECT_TRUE(caught) << bad;
  }
}

}  // namespace
}  // namespace prentice
