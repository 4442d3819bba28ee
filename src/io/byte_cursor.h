// Takes what a binary file says off its bytes, in order: every size is compared with what is left before it is used.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include "core/error.h"

namespace prentice {

// `what`, for people: the thing that is taken. Errors: `malformed` where fewer bytes are left than it has.
class ByteCursor {
 public:
  explicit ByteCursor(std::span<const std::byte> bytes) : bytes_(bytes) {}

  uint64_t offset() const { return offset_; }
  uint64_t left() const { return bytes_.size() - offset_; }

  std::span<const std::byte> take(uint64_t count, const char* what) {
    if (count > left()) {
      fail(ExitCode::malformed,
           std::string(what) + " needs " + std::to_string(count) + " bytes, " + std::to_string(left()) + " are left",
           "the file may be truncated: copy or download it again");
    }
    const auto taken = bytes_.subspan(offset_, count);
    offset_ += count;
    return taken;
  }
  // As this machine has it in memory.
  template <class T>
  T number(const char* what) {
    T value;
    std::memcpy(&value, take(sizeof value, what).data(), sizeof value);
    return value;
  }
  std::string_view text(uint64_t bytes, const char* what) {
    const auto taken = take(bytes, what);
    return {reinterpret_cast<const char*>(taken.data()), taken.size()};
  }

 private:
  std::span<const std::byte> bytes_;
  uint64_t offset_ = 0;
};

}  // namespace prentice
