// SHA-256 of bytes and files, and a cache of file hashes in the user's cache folder.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace prentice {

class Sha256 {
 public:
  Sha256();
  Sha256(Sha256&&) noexcept;
  ~Sha256();
  void update(std::span<const std::byte> bytes);
  void update(std::string_view text);
  // Their number as a uint64, then the values: lists in a row cannot be taken for others. Files on disk are bound by
  // it.
  template <class Values>
  void update_sized(const Values& values) {
    const uint64_t size = values.size();
    update(std::as_bytes(std::span(&size, 1)));
    update(std::as_bytes(std::span(values)));
  }
  std::string hex();  // 64 lower-case digits; call once, last

 private:
  struct State;
  std::unique_ptr<State> state_;
};

std::string sha256_hex(std::span<const std::byte> bytes);
std::string sha256_hex(std::string_view text);
// Streams; memory does not grow with the file. Errors: `usage` when missing, `storage` on an I/O error.
std::string sha256_file(const std::filesystem::path& path);

// sha256_file behind a cache keyed by (device, inode, size, mtime, ctime). A file changed within the last two seconds
// is hashed but not remembered, because the clock of the file system may be too coarse to show a second change.
// `folder`: default_hash_cache(); an unusable cache folder costs only time.
std::string cached_sha256_file(const std::filesystem::path& path, const std::filesystem::path& folder);
std::string cached_sha256_file(const std::filesystem::path& path);
std::filesystem::path default_hash_cache();  // $XDG_CACHE_HOME or ~/.cache, /prentice/sha256; empty when neither is set

}  // namespace prentice
