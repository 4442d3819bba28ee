#include "core/host.h"

#include <malloc.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <string>

#include "core/tensor_heap.h"

namespace prentice {

namespace {

uint64_t machine_memory_bytes() {
  return static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<uint64_t>(sysconf(_SC_PAGE_SIZE));
}

// The number that a file of the system begins with; 0 when it holds a word ("max").
double number_in(const char* path) {
  double number = 0;
  std::ifstream file(path);
  return file >> number ? number : 0;
}

}  // namespace

uint64_t memory_limit_bytes() {
  for (const char* path : {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}) {
    uint64_t limit = 0;
    if (std::ifstream(path) >> limit && limit > 0) return limit < machine_memory_bytes() ? limit : 0;
  }
  return 0;
}

uint64_t host_memory_bytes() {
  const uint64_t limit = memory_limit_bytes();
  return limit > 0 ? limit : machine_memory_bytes();
}

double quota_cores() {
  double quota = 0, period = 0;
  if (std::ifstream("/sys/fs/cgroup/cpu.max") >> quota >> period) return quota > 0 && period > 0 ? quota / period : 0;
  quota = number_in("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), period = number_in("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
  return quota > 0 && period > 0 ? quota / period : 0;
}

uint64_t process_bytes(std::string_view field) {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);) {  // "VmRSS:     123 kB"
    if (line.size() <= field.size() || line[field.size()] != ':' || !line.starts_with(field)) continue;
    return std::strtoull(line.c_str() + field.size() + 1, nullptr, 10) * 1024;
  }
  return 0;
}

void release_free_memory() {
  tensor_heap().release();
#ifdef __GLIBC__
  malloc_trim(0);
#endif
}

std::filesystem::path program_file() {
  std::error_code error;
  return std::filesystem::read_symlink("/proc/self/exe", error);
}

bool has_colour(int descriptor) {
  const char* no_color = std::getenv("NO_COLOR");
  const char* term = std::getenv("TERM");
  return isatty(descriptor) && !(no_color && *no_color) && term && std::string_view(term) != "dumb";
}

}  // namespace prentice
