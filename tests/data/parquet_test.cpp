#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <random>

#include "data/source.h"
#include "io/file.h"
#include "io/json.h"
#include "io/scratch.h"

namespace prentice {
namespace {

const std::string kGolden = "tests/golden/data/";

std::vector<Record> records_of(const std::string& path, SourceOptions options = {.threads = 2}) {
  Problems problems;
  auto source = read_source(path, options, problems);
  problems.throw_if_any();
  return std::move(source.records);
}

// Equal, but that single precision is written as 0.1 where Python's twice as long one says 0.10000000149011612.
void expect_equal(const Json& ours, const Json& theirs, const std::string& where) {
  if (ours == theirs) return;
  if (ours.is_number() && theirs.is_number()) {
    EXPECT_NEAR(ours.as_number(), theirs.as_number(), 1e-7 * std::abs(theirs.as_number())) << where;
  } else if (ours.is_array() && theirs.is_array() && ours.as_array().size() == theirs.as_array().size()) {
    for (size_t i = 0; i < ours.as_array().size(); ++i)
      expect_equal(ours.as_array()[i], theirs.as_array()[i], where + "[" + std::to_string(i) + "]");
  } else if (ours.is_object() && theirs.is_object() && ours.as_object().size() == theirs.as_object().size()) {
    for (size_t i = 0; i < ours.as_object().size(); ++i) {
      const auto& [name, value] = ours.as_object()[i];
      EXPECT_EQ(name, theirs.as_object()[i].first) << where;
      expect_equal(value, theirs.as_object()[i].second, where + "." + name);
    }
  } else {
    ADD_FAILURE() << where << ": wanted " << theirs.dump() << ", got " << ours.dump();
  }
}

TEST(Parquet, RowsAreWhatPyarrowReads) {
  const Json expected = Json::parse_file(kGolden + "parquet_rows.json");
  for (const std::string codec : {"snappy", "gzip", "zstd", "none"}) {
    const auto records = records_of(kGolden + codec + ".parquet");
    ASSERT_EQ(records.size(), expected.as_array().size()) << codec;
    for (size_t i = 0; i < records.size(); ++i) {
      EXPECT_EQ(records[i].number, static_cast<int64_t>(i) + 1);
      EXPECT_EQ(records[i].line, 0);
      expect_equal(records[i].value, expected.as_array()[i], codec + ", row " + std::to_string(i + 1));
    }
  }
}

TEST(Parquet, ALimitIsKeptAcrossRowGroups) {
  EXPECT_EQ(records_of(kGolden + "zstd.parquet", {.limit = 9}).size(), 9u);
  EXPECT_EQ(records_of(kGolden + "zstd.parquet", {.limit = 100}).size(), 24u);
}

std::string message_of_bytes(const Scratch& scratch, const std::string& bytes, ExitCode* code) {
  const auto path = (scratch / "x.parquet").string();
  std::ofstream(path, std::ios::binary) << bytes;
  auto message = message_of([&] { records_of(path); }, code);
  if (const size_t at = message.find(path); at != std::string::npos) message.erase(at, path.size());
  return message;
}

TEST(Parquet, WhatIsNoWholeParquetFileIsRefusedInOneMessage) {
  const std::string whole = read_text_file(kGolden + "snappy.parquet");
  const std::pair<std::string, std::string> cases[] = {
      {"{\"a\": 1}\n", ": the file is no Parquet file: its first bytes are not PAR1"},
      {"PAR1", ": the Parquet file is damaged or cut short"},
      {whole.substr(0, whole.size() - 5), ": the Parquet file is cut short: its last bytes are not PAR1"},
      {whole.substr(0, whole.size() / 2), ": the Parquet file is cut short: its last bytes are not PAR1"},
      {whole.substr(0, whole.size() - 4) + "PARE", ": the Parquet file is encrypted, which is not read"},
      {whole.substr(0, 200) + whole.substr(whole.size() - 3000), ": the Parquet file is damaged"},
  };
  const Scratch scratch;
  for (const auto& [bytes, expected] : cases) {
    ExitCode code = ExitCode::ok;
    const std::string message = message_of_bytes(scratch, bytes, &code);
    EXPECT_EQ(code, ExitCode::data) << expected;
    EXPECT_TRUE(message.starts_with(expected)) << message;
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  }
}

TEST(Parquet, DamagedBytesGiveRowsOrAnErrorButNeverACrash) {
  const std::string whole = read_text_file(kGolden + "gzip.parquet");
  const Scratch scratch;
  std::mt19937 random(11);
  int refused = 0;
  for (int trial = 0; trial < 300; ++trial) {
    std::string bytes = whole;
    // Half of the trials in the last part, where the sizes and offsets stand.
    const size_t from = trial % 2 == 0 ? 4 : bytes.size() * 3 / 4;
    bytes[from + random() % (bytes.size() - from)] ^= static_cast<char>(1u << random() % 8);
    ExitCode code = ExitCode::ok;
    message_of_bytes(scratch, bytes, &code);
    EXPECT_TRUE(code == ExitCode::ok || code == ExitCode::data) << static_cast<int>(code);
    refused += code == ExitCode::data;
  }
  EXPECT_GT(refused, 30);
}

}  // namespace
}  // namespace prentice
