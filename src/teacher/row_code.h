// One row of a store as bytes, and back: the ids as in id_code.h, then the log-probabilities. Separate from the store
// so that its error is stated and tested where the rounding happens.
//
// Decoding always restores the k+1 events to a distribution: with d_i what was written for entry i, and t the tail
// mass, log p_i = log(1 - t) - log(sum_j exp(d_j)) + d_i (f32 is handed back as it was written).
//   q8:  d_i = -scale * q_i with q_i in 0..255 and scale = (largest - smallest log-probability) / 255. Differences
//        between an entry and the largest one are within scale / 2 of the teacher's, and so is the normaliser:
//        |error of log p_i| <= scale. A row that keeps all but 0.001 of the mass seldom spans 10 nats: scale < 0.04.
//   f16: each within 2^-11 of its size (and of 2^-14 below that) before the same normalisation.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace prentice {

enum class StoredValues { q8, f16, f32 };

std::string_view values_name(StoredValues values);  // "q8", "f16", "f32"
StoredValues values_of(std::string_view name);      // errors: `malformed`, with the names there are
size_t stored_value_bytes(StoredValues values);     // of one log-probability

struct Candidate {
  uint32_t id;
  float log_prob;
};

// What the row table says about one row; the pool holds the rest.
struct RowRecord {
  uint32_t offset = 0;  // of its first byte in the pool of its chunk
  uint16_t count = 0;   // entries
  float tail = 0;       // mass outside the entries
  float scale = 0;      // of q8; 0 for the others
};
inline constexpr size_t kRowRecordBytes = 14;  // packed, little-endian, in this order

void put_record(const RowRecord& record, std::byte* to);
RowRecord record_at(const std::byte* from);

// Appends the row's bytes to `pool`. `row` ascends by id. Returns its record, `offset` being where it was appended.
RowRecord encode_row(std::span<const Candidate> row, double tail, StoredValues values, uint32_t vocabulary,
                     std::vector<std::byte>& pool);
// Fills the first record.count of `ids` and `log_probs` from the chunk's pool. Errors: `malformed` for a record that
// does not fit the pool or holds no distribution (count 0 or over `ids`, tail outside 0..1, scale or values not
// finite).
void decode_row(const RowRecord& record, std::span<const std::byte> pool, StoredValues values, uint32_t vocabulary,
                std::span<int64_t> ids, std::span<float> log_probs);

}  // namespace prentice
