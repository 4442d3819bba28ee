#include "teacher/row_code.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>

#include "core/error.h"
#include "io/half.h"
#include "teacher/id_code.h"

namespace prentice {

namespace {

static_assert(std::endian::native == std::endian::little, "bytes are copied as they lie in memory");

constexpr std::array<std::string_view, 3> kNames = {"q8", "f16", "f32"};
constexpr float kSteps = 255;

template <class T>
void append(const T& value, std::vector<std::byte>& out) {
  const auto* bytes = reinterpret_cast<const std::byte*>(&value);
  out.insert(out.end(), bytes, bytes + sizeof value);
}

template <class T>
T value_at(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

void encode_values(std::span<const Candidate> row, StoredValues values, float largest, float scale,
                   std::vector<std::byte>& out) {
  for (const auto& entry : row) {
    if (values == StoredValues::f32) {
      append(entry.log_prob, out);
    } else if (values == StoredValues::f16) {
      append(f32_to_f16(entry.log_prob), out);
    } else {
      const float steps = scale > 0 ? std::round((largest - entry.log_prob) / scale) : 0;
      append(static_cast<uint8_t>(std::min(steps, kSteps)), out);
    }
  }
}

// Shifts the entries so that their masses sum to 1 - tail.
void normalise(float tail, std::span<float> log_probs) {
  const float largest = *std::ranges::max_element(log_probs);
  double sum = 0;
  for (const float value : log_probs) sum += std::exp(static_cast<double>(value) - largest);
  const double shift = std::log1p(-static_cast<double>(tail)) - std::log(sum) - largest;
  for (float& value : log_probs) value = static_cast<float>(value + shift);
}

}  // namespace

std::string_view values_name(StoredValues values) { return kNames[static_cast<size_t>(values)]; }

StoredValues values_of(std::string_view name) {
  const auto found = std::ranges::find(kNames, name);
  if (found == kNames.end()) fail(ExitCode::malformed, fmt::format("values: expected q8, f16 or f32, got {}", name));
  return static_cast<StoredValues>(found - kNames.begin());
}

size_t stored_value_bytes(StoredValues values) { return size_t{1} << static_cast<size_t>(values); }

void put_record(const RowRecord& record, std::byte* to) {
  std::memcpy(to, &record.offset, 4);
  std::memcpy(to + 4, &record.count, 2);
  std::memcpy(to + 6, &record.tail, 4);
  std::memcpy(to + 10, &record.scale, 4);
}

RowRecord record_at(const std::byte* from) {
  return {value_at<uint32_t>(from), value_at<uint16_t>(from + 4), value_at<float>(from + 6),
          value_at<float>(from + 10)};
}

RowRecord encode_row(std::span<const Candidate> row, double tail, StoredValues values, uint32_t vocabulary,
                     std::vector<std::byte>& pool) {
  RowRecord record{static_cast<uint32_t>(pool.size()), static_cast<uint16_t>(row.size()), static_cast<float>(tail), 0};
  std::vector<uint32_t> ids;
  ids.reserve(row.size());
  float largest = row.front().log_prob, smallest = largest;
  for (const auto& entry : row) {
    ids.push_back(entry.id);
    largest = std::max(largest, entry.log_prob);
    smallest = std::min(smallest, entry.log_prob);
  }
  if (values == StoredValues::q8) record.scale = (largest - smallest) / kSteps;
  encode_ids(ids, vocabulary, pool);
  encode_values(row, values, largest, record.scale, pool);
  return record;
}

void decode_row(const RowRecord& record, std::span<const std::byte> pool, StoredValues values, uint32_t vocabulary,
                std::span<int64_t> ids, std::span<float> log_probs) {
  if (record.count == 0 || record.count > ids.size() || record.offset > pool.size() || !(record.tail >= 0) ||
      !(record.tail < 1) || !(record.scale >= 0) || !std::isfinite(record.scale))
    fail(ExitCode::malformed, fmt::format("a row of {} entries at byte {}, tail {}, scale {}: no such row",
                                          record.count, record.offset, record.tail, record.scale));
  std::vector<uint32_t> packed(record.count);
  auto bytes = pool.subspan(record.offset);
  bytes = bytes.subspan(decode_ids(bytes, vocabulary, packed));
  const size_t width = stored_value_bytes(values);
  if (bytes.size() < record.count * width) fail(ExitCode::malformed, "the log-probabilities end too soon");
  for (size_t i = 0; i < record.count; ++i) {
    ids[i] = packed[i];
    const std::byte* at = bytes.data() + i * width;
    log_probs[i] = values == StoredValues::f32   ? value_at<float>(at)
                   : values == StoredValues::f16 ? f16_to_f32(value_at<uint16_t>(at))
                                                 : -record.scale * static_cast<float>(value_at<uint8_t>(at));
    if (!std::isfinite(log_probs[i])) fail(ExitCode::malformed, "a log-probability that is not finite");
  }
  if (values != StoredValues::f32) normalise(record.tail, log_probs.first(record.count));
}

}  // namespace prentice
