#include "teacher/id_code.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "core/error.h"

namespace prentice {

namespace {

// A number below `range` takes floor(log2 range) bits, or one more from the cut on (truncated binary).
struct Truncated {
  explicit Truncated(uint32_t range) : bits(std::bit_width(range) - 1), cut((uint64_t{2} << bits) - range) {}
  int bits;
  uint64_t cut;
};

class BitCounter {
 public:
  void put(uint64_t, int bits) { bits_ += static_cast<size_t>(bits); }
  size_t bytes() const { return (bits_ + 7) / 8; }

 private:
  size_t bits_ = 0;
};

// The first bit written is the lowest of the first byte.
class BitWriter {
 public:
  explicit BitWriter(std::vector<std::byte>& out) : out_(out) {}
  void put(uint64_t value, int bits) {
    held_ |= value << count_;
    for (count_ += bits; count_ >= 8; count_ -= 8, held_ >>= 8) out_.push_back(static_cast<std::byte>(held_));
  }
  void finish() {
    if (count_ > 0) out_.push_back(static_cast<std::byte>(held_));
  }

 private:
  std::vector<std::byte>& out_;
  uint64_t held_ = 0;
  int count_ = 0;
};

class BitReader {
 public:
  explicit BitReader(std::span<const std::byte> bytes) : bytes_(bytes) {}
  uint64_t take(int bits) {
    while (count_ < bits) {
      if (at_ == bytes_.size()) fail(ExitCode::malformed, "the token ids end too soon");
      held_ |= std::to_integer<uint64_t>(bytes_[at_++]) << count_;
      count_ += 8;
    }
    const uint64_t value = held_ & ((uint64_t{1} << bits) - 1);
    held_ >>= bits;
    count_ -= bits;
    return value;
  }
  size_t bytes_read() const { return at_; }

 private:
  std::span<const std::byte> bytes_;
  size_t at_ = 0;
  uint64_t held_ = 0;
  int count_ = 0;
};

// `ids` lie in [low, end).
template <class Bits>
void write_ids(std::span<const uint32_t> ids, uint32_t low, uint32_t end, Bits& out) {
  if (ids.empty() || ids.size() == end - low) return;  // nothing is left to say
  const size_t middle = ids.size() / 2;
  const auto before = static_cast<uint32_t>(middle), after = static_cast<uint32_t>(ids.size() - 1 - middle);
  const uint32_t range = end - low - before - after, value = ids[middle] - low - before;
  const Truncated code(range);
  if (value < code.cut) {
    out.put(value, code.bits);
  } else {
    const uint64_t shifted = value + code.cut;
    out.put(shifted >> 1, code.bits);
    out.put(shifted & 1, 1);
  }
  write_ids(ids.first(middle), low, ids[middle], out);
  write_ids(ids.subspan(middle + 1), ids[middle] + 1, end, out);
}

void read_ids(BitReader& in, uint32_t low, uint32_t end, std::span<uint32_t> ids) {
  if (ids.empty()) return;
  if (ids.size() == end - low) {
    for (auto& id : ids) id = low++;
    return;
  }
  const size_t middle = ids.size() / 2;
  const auto before = static_cast<uint32_t>(middle), after = static_cast<uint32_t>(ids.size() - 1 - middle);
  const Truncated code(end - low - before - after);
  uint64_t value = in.take(code.bits);
  if (value >= code.cut) value = (value << 1 | in.take(1)) - code.cut;
  ids[middle] = low + before + static_cast<uint32_t>(value);
  read_ids(in, low, ids[middle], ids.first(middle));
  read_ids(in, ids[middle] + 1, end, ids.subspan(middle + 1));
}

}  // namespace

size_t id_code_bytes(std::span<const uint32_t> ids, uint32_t vocabulary) {
  BitCounter bits;
  write_ids(ids, 0, vocabulary, bits);
  return bits.bytes();
}

size_t max_id_code_bytes(uint64_t count, uint64_t vocabulary) {
  double bits = 0;
  for (uint64_t nodes = 1; count > 0; nodes *= 2) {
    const auto here = static_cast<double>(std::min(nodes, count));
    bits += here * (std::log2(static_cast<double>(vocabulary) / here) + 1);
    count -= std::min(nodes, count);
  }
  return static_cast<size_t>(std::ceil(bits / 8));
}

void encode_ids(std::span<const uint32_t> ids, uint32_t vocabulary, std::vector<std::byte>& out) {
  BitWriter bits(out);
  write_ids(ids, 0, vocabulary, bits);
  bits.finish();
}

size_t decode_ids(std::span<const std::byte> bytes, uint32_t vocabulary, std::span<uint32_t> ids) {
  if (ids.size() > vocabulary) fail(ExitCode::malformed, "more token ids than the vocabulary has");
  BitReader bits(bytes);
  read_ids(bits, 0, vocabulary, ids);
  return bits.bytes_read();
}

}  // namespace prentice
