// Importance matrices: both forms of the file, and what is refused of them.
#include "io/importance_matrix.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "io/file.h"
#include "io/gguf.h"
#include "io/scratch.h"

namespace prentice {
namespace {

ImportanceMatrix some_matrix() {
  return {.entries = {{"blk.0.attn_q.weight", {.sums = {1, 2, 6}, .count = 2}},
                      {"blk.0.ffn_down.weight", {.sums = {0, 0.5f}, .count = 4}}},
          .datasets = {"text.txt"},
          .chunks = 3,
          .chunk_size = 512,
          .rows = {calibration_row_hash("a"), calibration_row_hash("b")}};
}

// The older form, as its writer lays it out: numbers as they lie in memory.
class LegacyBytes {
 public:
  LegacyBytes& number(int32_t value) { return raw(&value, sizeof value); }
  LegacyBytes& text(const std::string& value) {
    number(static_cast<int32_t>(value.size()));
    return raw(value.data(), value.size());
  }
  LegacyBytes& values(const std::vector<float>& values) {
    number(static_cast<int32_t>(values.size()));
    return raw(values.data(), values.size() * sizeof(float));
  }
  std::string bytes;

 private:
  LegacyBytes& raw(const void* data, size_t size) {
    bytes.append(static_cast<const char*>(data), size);
    return *this;
  }
};

std::filesystem::path written(const Scratch& scratch, const std::string& bytes) {
  const auto path = scratch / "old.dat";
  std::filesystem::remove(path);
  OutputFile file(path, bytes.size());
  file.write(as_bytes(bytes));
  file.finish();
  return path;
}

TEST(Importance, WhatIsWrittenIsReadAgain) {
  const Scratch scratch;
  write_importance(some_matrix(), scratch / "a.gguf");
  const auto read = read_importance(scratch / "a.gguf");
  EXPECT_EQ(read.entries.at("blk.0.attn_q.weight").sums, (std::vector<float>{1, 2, 6}));
  EXPECT_EQ(read.entries.at("blk.0.attn_q.weight").means(), (std::vector<float>{0.5f, 1, 3}));
  EXPECT_EQ(read.entries.at("blk.0.ffn_down.weight").count, 4);
  EXPECT_EQ(read.datasets, some_matrix().datasets);
  EXPECT_EQ(read.rows, some_matrix().rows);
  EXPECT_EQ(read.chunks, 3u);
  EXPECT_EQ(read.chunk_size, 512u);
}

// llama.cpp, tools/imatrix: save_imatrix_legacy and load_legacy_imatrix.
TEST(Importance, TheOlderFormHoldsMeansTimesItsCalls) {
  const Scratch scratch;
  LegacyBytes file;
  file.number(2).text("blk.0.attn_q.weight").number(2).values({1, 3});
  file.text("blk.1.attn_q.weight").number(0).values({5});
  const auto without_end = read_importance(written(scratch, file.bytes));
  EXPECT_EQ(without_end.entries.at("blk.0.attn_q.weight").means(), (std::vector<float>{0.5f, 1.5f}));
  EXPECT_EQ(without_end.entries.at("blk.1.attn_q.weight").means(), (std::vector<float>{5}));
  file.number(7).text("wiki.txt");
  const auto whole = read_importance(written(scratch, file.bytes));
  EXPECT_EQ(whole.chunks, 7u);
  EXPECT_EQ(whole.datasets, std::vector<std::string>{"wiki.txt"});
}

TEST(Importance, AColumnThatNothingEnteredCountsAsOne) {
  EXPECT_EQ((ImportanceEntry{.sums = {0, 4}, .count = 0}.means()), (std::vector<float>{1, 1}));
}

TEST(Importance, DamagedFilesOfTheOlderFormAreRefusedWithAReason) {
  const Scratch scratch;
  const auto begin = [](int32_t entries) { return std::move(LegacyBytes().number(entries).text("w").number(1)); };
  const struct {
    std::string bytes, wanted;
  } table[] = {
      {"", "are left"},
      {LegacyBytes().number(0).bytes, "no entry"},
      {LegacyBytes().number(-1).bytes, "the number of entries of -1"},
      {begin(1).bytes, "are left"},
      {begin(2).values({1}).bytes, "are left"},
      {begin(1).number(1 << 30).bytes, "are left"},
      {begin(1).values({}).bytes, "entry w is empty"},
      {begin(1).values({NAN}).bytes, "not finite"},
      {begin(1).values({-1}).bytes, "negative"},
      {begin(1).values({HUGE_VALF}).bytes, "not finite"},
      {begin(2).values({1}).text("w").number(1).values({1}).bytes, "twice"},
  };
  for (const auto& [bytes, wanted] : table) {
    ExitCode code{};
    const auto message = message_of([&, &bytes = bytes] { read_importance(written(scratch, bytes)); }, &code);
    EXPECT_TRUE(contains(message, wanted) && contains(message, "old.dat")) << wanted << ": " << message;
    EXPECT_EQ(code, ExitCode::model) << wanted;
  }
}

TEST(Importance, GgufFilesThatAreNoneAreRefusedWithAReason) {
  const Scratch scratch;
  const std::vector<GgufEntry> head = {{"general.type", std::string("imatrix")},
                                       {"imatrix.datasets", gguf_array(std::vector<std::string>{"a"})},
                                       {"imatrix.chunk_count", uint32_t{1}},
                                       {"imatrix.chunk_size", uint32_t{512}}};
  const auto without = [&](const std::string& key) {
    auto rest = head;
    std::erase_if(rest, [&](const GgufEntry& entry) { return entry.key == key; });
    return rest;
  };
  using Infos = std::vector<GgufTensorInfo>;
  const Infos good = {{"w.in_sum2", GgmlType::F32, {2}}, {"w.counts", GgmlType::F32, {1}}};
  const struct {
    std::vector<GgufEntry> metadata;
    Infos tensors;
    float value;
    std::string wanted;
  } table[] = {
      {without("general.type"), good, 1, "not one of an importance matrix"},
      {without("imatrix.chunk_count"), good, 1, "imatrix.chunk_count is missing"},
      {without("imatrix.datasets"), good, 1, "imatrix.datasets is missing"},
      {head, {}, 1, "holds no entry"},
      {head, {good[0]}, 1, "entry w has no counts"},
      {head, {good[0], {"w.counts", GgmlType::F32, {4}}}, 1, "of 4 matrices"},
      {head, {good[0], {"w.counts", GgmlType::I32, {1}}}, 1, "w.counts is not F32"},
      {head, good, std::numeric_limits<float>::quiet_NaN(), "not finite"},
      {head, good, -2, "negative"},
  };
  for (const auto& [metadata, tensors, value, wanted] : table) {
    const auto path = scratch / "a.gguf";
    std::filesystem::remove(path);
    GgufWriter writer(path, metadata, tensors);
    for (const auto& tensor : tensors) {
      const std::vector<float> values(gguf_tensor_bytes(tensor) / sizeof(float), value);
      writer.write(tensor.name, std::as_bytes(std::span(values)));
    }
    writer.finish();
    const auto message = message_of([&] { read_importance(path); });
    EXPECT_TRUE(contains(message, wanted)) << wanted << ": " << message;
  }
}

TEST(Importance, FilesAreKnownByTheirNameOrTheirFirstBytes) {
  const Scratch scratch;
  write_importance(some_matrix(), scratch / "no_ending");
  EXPECT_TRUE(is_importance_file(scratch / "no_ending"));
  for (const char* name : {"a.gguf", "a.dat", "a.imatrix"}) EXPECT_TRUE(is_importance_file(scratch / name)) << name;
  for (const char* name : {"rows.jsonl", "text.txt", ""}) EXPECT_FALSE(is_importance_file(scratch / name)) << name;
}

}  // namespace
}  // namespace prentice
