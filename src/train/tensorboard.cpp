#include "train/tensorboard.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "io/file.h"
#include "run/clock.h"

namespace prentice {

namespace {

namespace fs = std::filesystem;

constexpr std::string_view kFilePrefix = "events.out.tfevents.";

constexpr std::array<uint32_t, 256> make_crc_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ (crc & 1 ? 0x82f63b78u : 0);
    table[byte] = crc;
  }
  return table;
}
constexpr auto kCrcTable = make_crc_table();

static_assert(std::endian::native == std::endian::little, "records are written in the machine's byte order");

template <class Value>
void put(std::string& bytes, Value value) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
}

void put_varint(std::string& bytes, uint64_t value) {
  for (; value >= 0x80; value >>= 7) bytes += static_cast<char>(value | 0x80);
  bytes += static_cast<char>(value);
}

// Wire types of protobuf: 0 varint, 1 eight bytes, 2 length and bytes, 5 four bytes.
void put_key(std::string& bytes, int field, int wire_type) { bytes += static_cast<char>(field << 3 | wire_type); }

void put_text(std::string& bytes, int field, std::string_view text) {
  put_key(bytes, field, 2);
  put_varint(bytes, text.size());
  bytes += text;
}

// Event{1 wall_time double, 2 step int64, 3 file_version string, 5 summary}
std::string event_head(double wall_seconds, int64_t step) {
  std::string event;
  put_key(event, 1, 1);
  put(event, wall_seconds);
  put_key(event, 2, 0);
  put_varint(event, static_cast<uint64_t>(step));
  return event;
}

// The step of an event written by event_head, or -1 when the bytes are not one.
int64_t step_of(std::string_view event) {
  if (event.size() < 11 || event[0] != (1 << 3 | 1) || event[9] != (2 << 3 | 0)) return -1;
  uint64_t step = 0;
  int shift = 0;
  for (const char c : event.substr(10)) {
    step |= (static_cast<uint64_t>(c) & 0x7f) << shift;
    if (!(c & 0x80)) return static_cast<int64_t>(step);
    if ((shift += 7) > 56) break;
  }
  return -1;
}

// Cuts before the first record that is torn, not ours or past `last_step`.
void cut_events(const fs::path& path, int64_t last_step) {
  constexpr size_t kFrame = 16;  // bytes around the data
  const std::string text = read_text_file(path);
  size_t kept = 0;
  while (text.size() - kept >= kFrame) {
    uint64_t length = 0;
    std::memcpy(&length, text.data() + kept, sizeof length);
    if (length > text.size() - kept - kFrame) break;
    const int64_t step = step_of(std::string_view(text).substr(kept + 12, length));
    if (step < 0 || step > last_step) break;
    kept += kFrame + length;
  }
  if (kept == 0) {
    std::error_code ignored;  // an empty event file shows nothing
    fs::remove(path, ignored);
  } else if (kept < text.size()) {
    cut_file(path, kept);
  }
}

fs::path new_event_file(const fs::path& folder, int64_t last_step) {
  std::error_code missing;
  for (const auto& entry : fs::directory_iterator(folder, missing)) {
    if (entry.path().filename().string().starts_with(kFilePrefix)) cut_events(entry.path(), last_step);
  }
  char host[256] = "localhost";
  gethostname(host, sizeof host - 1);
  return folder / fmt::format("{}{:.0f}.{}.{}", kFilePrefix, wall_time(), host, getpid());
}

}  // namespace

uint32_t crc32c(std::string_view bytes) {
  uint32_t crc = ~0u;
  for (const char c : bytes) crc = kCrcTable[(crc ^ static_cast<uint8_t>(c)) & 0xff] ^ (crc >> 8);
  return ~crc;
}

std::string tfrecord(std::string_view data) {
  const auto masked = [](std::string_view bytes) {
    const uint32_t crc = crc32c(bytes);
    return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
  };
  std::string record;
  put(record, static_cast<uint64_t>(data.size()));
  put(record, masked(record));
  record += data;
  put(record, masked(data));
  return record;
}

TensorBoard::TensorBoard(const fs::path& folder, int64_t last_step) : file_(new_event_file(folder, last_step)) {
  std::string event = event_head(wall_time(), std::max<int64_t>(last_step, 0));
  put_text(event, 3, "brain.Event:2");
  pending_ += tfrecord(event);
}

void TensorBoard::scalar(std::string_view tag, int64_t step, double wall_seconds, double value) {
  std::string entry;  // Value{1 tag, 2 simple_value float}
  put_text(entry, 1, tag);
  put_key(entry, 2, 5);
  put(entry, static_cast<float>(value));
  std::string summary;  // Summary{1 repeated value}
  put_text(summary, 1, entry);
  std::string event = event_head(wall_seconds, step);
  put_text(event, 5, summary);
  pending_ += tfrecord(event);
}

void TensorBoard::flush() {
  file_.append(pending_);
  pending_.clear();
}

}  // namespace prentice
