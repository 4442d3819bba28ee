// Files that grow while a run lives: each append is one write(), so a killed run leaves whole records and at most one
// torn end. Separate from io/file.h, whose files appear whole or not at all.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

namespace prentice {

class AppendFile {
 public:
  // Creates the file, and its folder, if missing. Errors (all members): `storage`.
  explicit AppendFile(std::filesystem::path path);
  AppendFile(AppendFile&& other) noexcept;
  AppendFile& operator=(AppendFile&&) = delete;
  ~AppendFile();

  void append(std::string_view bytes);
  void sync();
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  int descriptor_ = -1;
};

// Shortens a file to `size` bytes, durably. Errors: `storage`.
void cut_file(const std::filesystem::path& path, uint64_t size);

// Cuts a file of lines before the first one that is torn or that `keep` refuses. A missing file is left missing.
void cut_lines(const std::filesystem::path& path, const std::function<bool(std::string_view line)>& keep);

}  // namespace prentice
