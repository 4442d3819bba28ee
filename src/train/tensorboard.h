// TensorBoard event files without protobuf: a TFRecord around each hand-encoded Event message.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "run/append_file.h"

namespace prentice {

uint32_t crc32c(std::string_view bytes);  // Castagnoli, reflected, as RFC 3720 appendix B.4

// length u64, masked crc32c(length), data, masked crc32c(data); little endian.
std::string tfrecord(std::string_view data);

class TensorBoard {
 public:
  // Opens a new event file in `folder`. Events of earlier files past `last_step` are cut, so that a resumed run shows
  // no point twice. Errors (all members): `storage`.
  TensorBoard(const std::filesystem::path& folder, int64_t last_step);

  void scalar(std::string_view tag, int64_t step, double wall_seconds, double value);
  void flush();  // one write() for all scalars since the last

 private:
  AppendFile file_;
  std::string pending_;
};

}  // namespace prentice
