// A file of tensors whose places its head has declared: written as it comes, a tensor after the other, never whole in
// memory. What the writers of each format share.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/file.h"

namespace prentice {

class TensorStream {
 public:
  struct Part {
    std::string name;
    uint64_t bytes = 0;
    uint64_t padding = 0;  // zeros behind it
  };

  // Creates the file, which must not exist, and writes `head`. Errors (all members): `storage`; `internal` for a tensor
  // out of turn.
  TensorStream(const std::filesystem::path& path, std::span<const std::byte> head, std::vector<Part> parts);
  // The next tensor, whole or in consecutive parts.
  void write(std::string_view name, std::span<const std::byte> bytes);
  void finish();  // every tensor must be complete; fsyncs

 private:
  std::vector<Part> parts_;
  OutputFile file_;
  size_t next_ = 0;
  uint64_t written_of_next_ = 0;
};

}  // namespace prentice
