#include "teacher/chunk_encoder.h"

#include "teacher/tiny_store.h"

namespace prentice {
namespace {

StoreLayout layout_of(const StoreKey& key, uint64_t rows, const StoreOptions& options) {
  return make_store_layout(key, rows, 1, options);
}

TEST(ChunkEncoder, KeepsEntriesUntilLessThanTheTailIsLeft) {
  const StoreKey key{.vocabulary = 10, .top_k = 4, .values = StoredValues::f32};
  const StoreLayout layout = layout_of(key, 16, {.tail = 0.1});
  struct Case {
    std::vector<double> masses;
    double outside;
    uint16_t count;
    double tail;
  };
  const std::vector<Case> cases = {
      {{0.95, 0.03, 0.02}, 0, 1, 0.05},         {{0.5, 0.3, 0.15, 0.05}, 0, 3, 0.05}, {{0.5, 0.38, 0.12}, 0, 3, 0},
      {{0.3, 0.3, 0.1, 0.1, 0.1}, 0.1, 4, 0.2}, {{0.85, 0.06}, 0.09, 2, 0.09},        {{1.0}, 0, 1, 0},
  };
  ChunkEncoder encoder(key, layout);
  for (const auto& c : cases) {
    std::vector<Candidate> entries;
    for (size_t i = 0; i < c.masses.size(); ++i)
      entries.push_back({static_cast<uint32_t>(i), static_cast<float>(std::log(c.masses[i]))});
    std::ranges::reverse(entries);  // any order
    encoder.add(entries, c.outside);
  }
  const EncodedChunk chunk = encoder.encode();
  for (size_t i = 0; i < cases.size(); ++i) {
    const RowRecord record = record_at(chunk.rows.data() + i * kRowRecordBytes);
    EXPECT_EQ(record.count, cases[i].count) << i;
    EXPECT_NEAR(record.tail, cases[i].tail, 1e-6) << i;
  }
}

TEST(ChunkEncoder, ExactValuesKeepTheUnlikeliestEntriesToo) {
  for (const auto& [values, count] : {std::pair(StoredValues::f32, 4), {StoredValues::f16, 4}, {StoredValues::q8, 2}}) {
    const StoreKey key{.vocabulary = 4, .top_k = 4, .values = values};
    ChunkEncoder encoder(key, layout_of(key, 1, {.tail = 0}));
    encoder.add({{0, -40}, {1, std::log(0.25f)}, {2, -1000}, {3, std::log(0.75f)}}, 0);
    EXPECT_EQ(record_at(encoder.encode().rows.data()).count, count) << values_name(values);
  }
}

TEST(ChunkEncoder, OverBudgetTheUnlikeliestEntriesOfTheChunkGo) {
  const StoreKey key{.vocabulary = 50000, .top_k = 50};
  const StoreLayout layout = layout_of(key, 64, {.bytes_per_token = 67, .chunk_rows = 64});
  ASSERT_EQ(layout.pool_row_bytes, 34u);
  ChunkEncoder encoder(key, layout);
  std::vector<TeacherRow> rows;
  for (uint64_t row = 0; row < 64; ++row) {
    rows.push_back(teacher_row(row, 50000, 50, row % 2 == 0 ? 1.0 : 5.0));
    encoder.add(rows.back().entries, rows.back().outside);
  }
  const EncodedChunk chunk = encoder.encode();
  EXPECT_EQ(chunk.pool.size(), 64 * 34u);
  float least_kept = 0, most_dropped = -100;
  for (size_t n = 0; n < rows.size(); ++n) {
    const RowRecord record = record_at(chunk.rows.data() + n * kRowRecordBytes);
    std::vector<int64_t> ids(50);
    std::vector<float> log_probs(50);
    decode_row(record, chunk.pool, key.values, 50000, ids, log_probs);
    const auto& entries = rows[n].entries;
    if (record.count > 1) least_kept = std::min(least_kept, entries[record.count - 1].log_prob);
    double left = rows[n].outside;
    for (size_t i = record.count; i < entries.size(); ++i) left += std::exp(entries[i].log_prob);
    EXPECT_NEAR(record.tail, left, 1e-6);
    if (record.count < 50 && left >= 0.001) most_dropped = std::max(most_dropped, entries[record.count].log_prob);
  }
  EXPECT_GT(least_kept, most_dropped - 1e-6);
  size_t used = chunk.pool.size();
  while (used > 0 && chunk.pool[used - 1] == std::byte{0}) --used;
  EXPECT_GT(used, 0.97 * static_cast<double>(chunk.pool.size()));
}

TEST(ChunkEncoder, WhatIsNoDistributionIsRefused) {
  const StoreKey key{.vocabulary = 10, .top_k = 4};
  const StoreLayout layout = layout_of(key, 16, {});
  const std::vector<std::pair<TeacherRow, ExitCode>> cases = {
      {{{{0, std::nanf("")}}, 0}, ExitCode::numerical},
      {{{{0, INFINITY}}, 0}, ExitCode::numerical},
      {{{{0, -0.1f}}, std::nan("")}, ExitCode::numerical},
      {{{{10, 0}}, 0}, ExitCode::internal},
      {{{{1, -1}, {2, -1}}, 0}, ExitCode::internal},
      {{{{1, 0.1f}}, -0.105}, ExitCode::internal},
      {{{{1, -0.6931472f}, {1, -0.6931472f}}, 0}, ExitCode::internal},
      {{{}, 1}, ExitCode::internal},
  };
  for (size_t i = 0; i < cases.size(); ++i) {
    ChunkEncoder encoder(key, layout);
    ExitCode code{};
    message_of([&] { encoder.add(cases[i].first.entries, cases[i].first.outside); }, &code);
    EXPECT_EQ(code, cases[i].second) << i;
  }
}

}  // namespace
}  // namespace prentice
