// Files as bytes: a read-only mapping, and writes whose every return code is checked and that are durable when they
// return. Separate because all formats stand on it and it knows none of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "core/error.h"

namespace prentice {

// A regular file read from front to back.
class InputFile {
 public:
  // Errors: `usage` when the path is missing, no regular file or unreadable; `storage` on an I/O error.
  explicit InputFile(std::filesystem::path path);
  InputFile(const InputFile&) = delete;
  ~InputFile();

  size_t read(std::span<std::byte> buffer);  // bytes read; 0 at the end only
  uint64_t size() const { return size_; }    // when it was opened
  int descriptor() const { return descriptor_; }

 private:
  std::filesystem::path path_;
  int descriptor_ = -1;
  uint64_t size_ = 0;
};

// Read-only view of a whole file; valid while the object lives (a move keeps it valid).
class MappedFile {
 public:
  // Errors: as InputFile.
  static MappedFile open(const std::filesystem::path& path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return {static_cast<const std::byte*>(data_), size_}; }
  std::string_view text() const { return {static_cast<const char*>(data_), size_}; }
  const std::filesystem::path& path() const { return path_; }
  void release_pages() const;  // tells the kernel that what was read is not needed soon: resident memory falls

 private:
  MappedFile() = default;
  std::filesystem::path path_;
  void* data_ = nullptr;
  size_t size_ = 0;
};

// A file being written. Whoever destroys it before finish() leaves no file behind.
class OutputFile {
 public:
  // Creates the file; it must not exist. `expected_bytes` (0 = unknown) lets a full disk say how much is missing.
  // Errors (all members): `storage`, with the bytes missing on ENOSPC and EDQUOT.
  explicit OutputFile(std::filesystem::path path, uint64_t expected_bytes = 0);
  OutputFile(OutputFile&& other) noexcept;
  OutputFile& operator=(OutputFile&&) = delete;
  ~OutputFile();

  void write(std::span<const std::byte> bytes);
  void write(std::string_view text);
  void finish();  // fsync and close
  uint64_t written() const { return written_; }
  const std::filesystem::path& path() const { return path_; }

 private:
  [[noreturn]] void fail_storage(const char* action, int error) const;
  std::filesystem::path path_;
  uint64_t expected_bytes_ = 0, written_ = 0;
  int descriptor_ = -1;
};

std::span<const std::byte> as_bytes(std::string_view text);

// Errors: as InputFile; `usage` when the file is larger than `max_bytes`.
std::string read_text_file(const std::filesystem::path& path, uint64_t max_bytes = uint64_t{1} << 30);

// Creates `path` (which must not exist) with these bytes and fsyncs it. The folder's entry is durable only after
// fsync_folder or a publish. Errors: `storage`.
void write_file_durably(const std::filesystem::path& path, std::string_view text);
void write_file_durably(const std::filesystem::path& path, std::span<const std::byte> bytes);

// Bytes an unprivileged user may still write to the file system of `path` (its nearest existing ancestor).
uint64_t free_bytes(const std::filesystem::path& path);
// Errors: `storage` naming the bytes missing, when fewer than `bytes` are free.
void require_free_bytes(const std::filesystem::path& path, uint64_t bytes);

// A name read from a file must be a plain relative one: not empty, no NUL, no backslash, not absolute, no "." or "..".
bool is_plain_relative_name(std::string_view name);

// Throws `usage` for a missing path, else `storage`: the one wording for a failed system call on a path.
[[noreturn]] void fail_system(const std::string& action, const std::filesystem::path& path, int error);

}  // namespace prentice
