// A folder for one test. Separate from any room's fixtures: every room may want one.
#pragma once

#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <string>

namespace prentice::toy {

// A folder that is gone when the test is over; in memory where possible, because checkpoints wait for the disk.
class TempDir {
 public:
  TempDir() {
    const bool in_memory = ::access("/dev/shm", W_OK) == 0;
    const auto parent = in_memory ? "/dev/shm" : std::filesystem::temp_directory_path();
    std::string name = (parent / "prentice-test-XXXXXX").string();
    path_ = ::mkdtemp(name.data());
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

}  // namespace prentice::toy
