#include "teacher/chunk_encoder.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.h"
#include "teacher/id_code.h"

namespace prentice {

namespace {

constexpr float kNoBound = -std::numeric_limits<float>::infinity();
constexpr double kSumTolerance = 1e-3;
constexpr float kLeastHalf = -65504;  // of an f16
constexpr float kLeastRounded = -30;  // below it an entry would widen the steps of all, and its mass is nothing in f32
constexpr int kBisections = 12;       // to 0.008 nats

double mass(const Candidate& entry) { return std::exp(static_cast<double>(entry.log_prob)); }

// An entry below it is left to the tail. Exact values stay, however small: what is unlikely at temperature 1 counts at
// a higher one, and a reverse divergence weighs it by the student.
float least_log_prob(StoredValues values) {
  switch (values) {
    case StoredValues::q8:
      return kLeastRounded;
    case StoredValues::f16:
      return kLeastHalf;
    case StoredValues::f32:
      break;
  }
  return std::numeric_limits<float>::lowest();
}

bool likelier(const Candidate& a, const Candidate& b) {
  return a.log_prob != b.log_prob ? a.log_prob > b.log_prob : a.id < b.id;
}

void require_distribution(const std::vector<Candidate>& entries, double outside, uint64_t vocabulary) {
  double sum = outside;
  std::vector<uint32_t> ids;
  for (const auto& entry : entries) {
    ids.push_back(entry.id);
    sum += mass(entry);
  }
  std::ranges::sort(ids);
  if (ids.empty() || ids.back() >= vocabulary || std::ranges::adjacent_find(ids) != ids.end())
    fail(ExitCode::internal,
         fmt::format("a row of {} token ids, none, one twice or one not below {}", ids.size(), vocabulary));
  if (!std::isfinite(sum))
    fail(ExitCode::numerical, "the teacher's probabilities are not finite", "try another `dtype` for the teacher");
  if (outside < 0 || std::abs(sum - 1) > kSumTolerance)
    fail(ExitCode::internal, fmt::format("a row's masses sum to {} (outside its entries: {})", sum, outside));
}

}  // namespace

void ChunkEncoder::add(std::vector<Candidate> entries, double mass_outside) {
  require_distribution(entries, mass_outside, key_.vocabulary);
  std::ranges::sort(entries, likelier);
  double left = mass_outside;
  const float least = least_log_prob(key_.values);
  while (entries.size() > 1 && (entries.size() > key_.top_k || entries.back().log_prob < least)) {
    left += mass(entries.back());
    entries.pop_back();
  }
  // An entry goes while what is left without it is still below the tail.
  while (entries.size() > 1 && left + mass(entries.back()) < layout_.tail) {
    left += mass(entries.back());
    entries.pop_back();
  }
  rows_.push_back({entries_.size(), entries.size(), left});
  entries_.insert(entries_.end(), entries.begin(), entries.end());
}

size_t ChunkEncoder::kept(const Row& row, float least) const {
  const auto first = entries_.begin() + static_cast<std::ptrdiff_t>(row.first);
  const auto end = std::partition_point(first, first + static_cast<std::ptrdiff_t>(row.count),
                                        [&](const Candidate& entry) { return entry.log_prob >= least; });
  return std::max<size_t>(1, static_cast<size_t>(end - first));
}

uint64_t ChunkEncoder::pool_bytes(float least) const {
  uint64_t bytes = 0;
  std::vector<uint32_t> ids;
  for (const auto& row : rows_) {
    const size_t count = kept(row, least);
    ids.clear();
    for (size_t i = 0; i < count; ++i) ids.push_back(entries_[row.first + i].id);
    std::ranges::sort(ids);
    bytes += id_code_bytes(ids, static_cast<uint32_t>(key_.vocabulary)) + count * stored_value_bytes(key_.values);
  }
  return bytes;
}

EncodedChunk ChunkEncoder::encode() const {
  const uint64_t budget = layout_.chunk_pool_bytes();
  float least = kNoBound;
  if (pool_bytes(least) > budget) {
    float low = kLeastRounded, high = 1;  // with the bound at `high` each row keeps one entry, which always fits
    for (int i = 0; i < kBisections; ++i) {
      const float middle = (low + high) / 2;
      (pool_bytes(middle) > budget ? low : high) = middle;
    }
    least = high;
  }
  EncodedChunk chunk;
  chunk.rows.resize(layout_.chunk_rows * kRowRecordBytes);
  std::byte* record = chunk.rows.data();
  std::vector<Candidate> row;
  for (const auto& from : rows_) {
    const size_t count = kept(from, least);
    row.assign(entries_.begin() + static_cast<std::ptrdiff_t>(from.first),
               entries_.begin() + static_cast<std::ptrdiff_t>(from.first + count));
    double tail = from.outside;
    for (size_t i = count; i < from.count; ++i) tail += mass(entries_[from.first + i]);
    std::ranges::sort(row, {}, &Candidate::id);
    put_record(encode_row(row, tail, key_.values, static_cast<uint32_t>(key_.vocabulary), chunk.pool), record);
    record += kRowRecordBytes;
  }
  chunk.pool.resize(budget);
  return chunk;
}

}  // namespace prentice
