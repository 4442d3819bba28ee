#include "fuzz/gguf_mutator.h"

#include <algorithm>
#include <cstring>
#include <random>
#include <vector>

namespace prentice::fuzz {

namespace {

struct Field {
  size_t at, bytes;  // a little-endian number
};
struct Span {
  size_t begin, end;
};

// Where the parts of a file lie, as far as it is one.
class Outline {
 public:
  Outline(const uint8_t* data, size_t size) : data_(data), size_(size) {
    uint64_t tensors = 0, keys = 0;
    if (!skip(4) || !number(4) || !number(8, &tensors) || !number(8, &keys)) return;
    for (uint64_t i = 0; i < keys && entry(); ++i) {
    }
    if (entries.size() < keys) return;
    for (uint64_t i = 0; i < tensors && tensor(); ++i) {
    }
  }

  std::vector<Field> fields;
  std::vector<Span> entries, infos, texts;

 private:
  bool skip(uint64_t count) {
    if (count > size_ - at_) return false;
    at_ += count;
    return true;
  }
  bool number(size_t bytes, uint64_t* value = nullptr) {
    if (bytes > size_ - at_) return false;
    fields.push_back({at_, bytes});
    if (value != nullptr) *value = 0, std::memcpy(value, data_ + at_, bytes);
    return skip(bytes);
  }
  bool text() {
    uint64_t length = 0;
    if (!number(8, &length) || !skip(length)) return false;
    texts.push_back({at_ - length, at_});
    return true;
  }
  bool value(uint64_t type, bool in_array = false) {
    constexpr size_t kBytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    if (type == 8) return text();
    if (type != 9) return type < std::size(kBytes) && number(kBytes[type]);
    uint64_t element = 0, count = 0;
    if (in_array || !number(4, &element) || !number(8, &count)) return false;
    for (uint64_t i = 0; i < count; ++i) {
      if (!value(element, true)) return false;
    }
    return true;
  }
  bool entry() {
    const size_t begin = at_;
    uint64_t type = 0;
    if (!text() || !number(4, &type) || !value(type)) return false;
    entries.push_back({begin, at_});
    return true;
  }
  bool tensor() {
    const size_t begin = at_;
    uint64_t rank = 0;
    if (!text() || !number(4, &rank) || rank > 8) return false;
    for (uint64_t i = 0; i < rank; ++i) {
      if (!number(8)) return false;
    }
    if (!number(4) || !number(8)) return false;
    infos.push_back({begin, at_});
    return true;
  }

  const uint8_t* data_;
  size_t size_, at_ = 0;
};

class Mutator {
 public:
  Mutator(uint8_t* data, size_t size, size_t max_size, unsigned seed)
      : data_(data), size_(size), max_size_(max_size), draw_(seed), outline_(data, size) {}

  size_t mutate() {
    if (outline_.fields.empty()) return 0;
    switch (draw_() % 6) {
      case 0:
      case 1:
        return change_field();
      case 2:
        return copy_text();
      case 3:
        return resize_text();
      case 4:
        return take_part_away();
      default:
        return double_part();
    }
  }

 private:
  template <class T>
  const T& any(const std::vector<T>& list) {
    return list[draw_() % list.size()];
  }

  size_t change_field() {
    constexpr uint64_t kNumbers[] = {
        0,          1,          2,          3,          7,          8,     31,     32,         33,        63,
        64,         127,        128,        255,        256,        65535, 65536,  0x7fffffff, 1u << 31,  0xffffffff,
        1ull << 32, 1ull << 48, 1ull << 61, 1ull << 62, 1ull << 63, ~0ull, ~31ull, 0x7fc00000, 0x3f800000};
    const Field field = any(outline_.fields);
    uint64_t value = 0;
    std::memcpy(&value, data_ + field.at, field.bytes);
    switch (draw_() % 4) {
      case 0:
        value = kNumbers[draw_() % std::size(kNumbers)];
        break;
      case 1:
        value += draw_() % 17 - 8;
        break;
      case 2:
        value ^= uint64_t{1} << draw_() % (8 * field.bytes);
        break;
      default: {  // another field's
        const Field other = any(outline_.fields);
        value = 0;
        std::memcpy(&value, data_ + other.at, std::min(field.bytes, other.bytes));
      }
    }
    std::memcpy(data_ + field.at, &value, field.bytes);
    return size_;
  }

  // Puts `count` bytes in the place of [begin, end).
  bool replace(size_t begin, size_t end, const uint8_t* with, size_t count) {
    if (size_ - (end - begin) + count > max_size_) return false;
    const std::vector<uint8_t> kept(with, with + count);  // it may lie in what moves
    std::memmove(data_ + begin + count, data_ + end, size_ - end);
    std::copy(kept.begin(), kept.end(), data_ + begin);
    size_ = size_ - (end - begin) + count;
    return true;
  }

  size_t set_text(Span text, const uint8_t* with, uint64_t count) {
    if (!replace(text.begin, text.end, with, count)) return 0;
    std::memcpy(data_ + text.begin - sizeof count, &count, sizeof count);
    return size_;
  }

  size_t copy_text() {
    if (outline_.texts.empty()) return 0;
    const Span from = any(outline_.texts);
    return set_text(any(outline_.texts), data_ + from.begin, from.end - from.begin);
  }

  size_t resize_text() {
    if (outline_.texts.empty()) return 0;
    const Span text = any(outline_.texts);
    std::vector<uint8_t> with(data_ + text.begin, data_ + text.end);
    with.resize(draw_() % 4 == 0 ? draw_() % 300 : draw_() % 12, static_cast<uint8_t>(draw_()));
    if (!with.empty()) with[draw_() % with.size()] = static_cast<uint8_t>(draw_());
    return set_text(text, with.data(), with.size());
  }

  void add_to_count(size_t at, int64_t change) {
    uint64_t count = 0;
    std::memcpy(&count, data_ + at, sizeof count);
    count += static_cast<uint64_t>(change);
    std::memcpy(data_ + at, &count, sizeof count);
  }

  // The number of tensors stands at byte 8, that of keys at 16.
  const std::vector<Span>& parts(size_t& count_at) {
    const bool tensors = !outline_.infos.empty() && draw_() % 2 == 0;
    count_at = tensors ? 8 : 16;
    return tensors ? outline_.infos : outline_.entries;
  }

  size_t take_part_away() {
    size_t count_at = 0;
    const auto& list = parts(count_at);
    if (list.empty()) return 0;
    const Span part = any(list);
    replace(part.begin, part.end, nullptr, 0);
    add_to_count(count_at, -1);
    return size_;
  }

  size_t double_part() {
    size_t count_at = 0;
    const auto& list = parts(count_at);
    if (list.empty()) return 0;
    const Span part = any(list), place = any(list);
    if (!replace(place.begin, place.begin, data_ + part.begin, part.end - part.begin)) return 0;
    add_to_count(count_at, 1);
    return size_;
  }

  uint8_t* data_;
  size_t size_, max_size_;
  std::minstd_rand draw_;
  Outline outline_;
};

}  // namespace

size_t mutate_gguf(uint8_t* data, size_t size, size_t max_size, unsigned seed) {
  return Mutator(data, size, max_size, seed).mutate();
}

}  // namespace prentice::fuzz
