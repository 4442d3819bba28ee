// What is fuzzed: functions that read bytes of strangers. Separate from those who call them: libFuzzer, and the replay
// of a corpus in the everyday tests.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"

namespace prentice::fuzz {

struct Target {
  std::string_view name;
  bool is_gguf;  // the mutator knows its structure
  // Reads `bytes` as the program would read a file of them. An Error of one of the codes that a bad file has is right;
  // everything else leaves.
  void (*read)(std::span<const std::byte> bytes);
};

// Those of the sources that are linked.
inline std::vector<Target>& targets() {
  static std::vector<Target> all;
  return all;
}
struct Registered {
  explicit Registered(Target target) { targets().push_back(target); }
};
inline const Target* find_target(std::string_view name) {  // nullptr: none
  const auto found = std::ranges::find(targets(), name, &Target::name);
  return found == targets().end() ? nullptr : &*found;
}

// A file without a disk, for readers that take a path.
class MemoryFile {
 public:
  explicit MemoryFile(std::span<const std::byte> bytes) : descriptor_(::memfd_create("input", MFD_CLOEXEC)) {
    if (::write(descriptor_, bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size())) std::abort();
  }
  ~MemoryFile() { ::close(descriptor_); }
  MemoryFile(const MemoryFile&) = delete;
  std::filesystem::path path() const { return "/proc/self/fd/" + std::to_string(descriptor_); }

 private:
  int descriptor_;
};

inline bool every_file_is_good = false;  // then no Error is right

// Runs `body`; an Error of one of these codes is what a bad file deserves, any other leaves.
template <class Body>
void expecting(std::initializer_list<ExitCode> codes, Body&& body) {
  try {
    body();
  } catch (const Error& error) {
    if (every_file_is_good || std::ranges::find(codes, error.code()) == codes.end()) throw;
  }
}

}  // namespace prentice::fuzz
