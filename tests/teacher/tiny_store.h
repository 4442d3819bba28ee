// A small store and the rows that belong in it, made by formula.
#pragma once

#include <ATen/ops/empty.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "io/scratch.h"
#include "teacher/chunk_encoder.h"
#include "teacher/store.h"
#include "teacher/store_writer.h"

namespace prentice {

struct TeacherRow {
  std::vector<Candidate> entries;  // the likeliest first
  double outside = 0;
};

// A distribution over `vocabulary` tokens: softmax of normal logits, of which the `top` likeliest are kept.
inline TeacherRow teacher_row(uint64_t row, uint32_t vocabulary, uint32_t top, double spread = 2) {
  std::mt19937_64 random(row + 1);
  std::normal_distribution<double> normal(0, spread);
  std::vector<double> logits(vocabulary);
  for (double& logit : logits) logit = normal(random);
  double sum = 0;
  for (const double logit : logits) sum += std::exp(logit);
  std::vector<uint32_t> order(vocabulary);
  std::iota(order.begin(), order.end(), 0u);
  std::ranges::stable_sort(order, [&](uint32_t a, uint32_t b) { return logits[a] > logits[b]; });
  TeacherRow result;
  for (uint32_t i = 0; i < vocabulary; ++i) {
    const double log_prob = logits[order[i]] - std::log(sum);
    if (i < top) {
      result.entries.push_back({order[i], static_cast<float>(log_prob)});
    } else {
      result.outside += std::exp(log_prob);
    }
  }
  return result;
}

inline TargetRows target_rows(const std::vector<TeacherRow>& rows) {
  const auto count = static_cast<int64_t>(rows.size()), width = static_cast<int64_t>(rows.front().entries.size());
  TargetRows result{
      at::empty({count, width}, at::kLong), {}, at::empty({count, width}), at::empty({count}, at::kDouble)};
  for (int64_t n = 0; n < count; ++n) {
    const TeacherRow& row = rows[static_cast<size_t>(n)];
    for (int64_t i = 0; i < width; ++i) {
      result.ids.mutable_data_ptr<int64_t>()[n * width + i] = row.entries[static_cast<size_t>(i)].id;
      result.log_probs.mutable_data_ptr<float>()[n * width + i] = row.entries[static_cast<size_t>(i)].log_prob;
    }
    result.tail.mutable_data_ptr<double>()[n] = row.outside;
  }
  return result;
}

struct TinyStore {
  StoreKey key{std::string(64, 'a'),
               std::string(64, 'b'),
               std::string(64, 'c'),
               std::string(64, 'd'),
               "one row of 64, f32",
               300,
               8,
               1,
               StoredValues::q8};
  // 75 rows: 5 chunks, 3 shards
  std::vector<StoreSample> samples = {{101, 10}, {102, 0}, {uint64_t{1} << 63, 25}, {104, 3}, {101, 17}, {106, 20}};
  StoreOptions options{.tail = 0.001, .chunk_rows = 16, .shard_chunks = 2};

  uint64_t rows() const {
    uint64_t sum = 0;
    for (const auto& sample : samples) sum += sample.rows;
    return sum;
  }
  TargetRows targets(uint64_t first, uint64_t count) const {
    std::vector<TeacherRow> rows;
    for (uint64_t row = first; row < first + count; ++row)
      rows.push_back(teacher_row(row, static_cast<uint32_t>(key.vocabulary), static_cast<uint32_t>(key.top_k)));
    return target_rows(rows);
  }
  // Goes on from what is committed, `step` rows at a time.
  void write(const std::filesystem::path& path, uint64_t step = 7) const {
    TeacherStoreWriter writer(path, key, samples, options);
    while (writer.next_row() < writer.rows())
      writer.append(targets(writer.next_row(), std::min(step, writer.rows() - writer.next_row())));
    writer.finish();
  }
};

}  // namespace prentice
