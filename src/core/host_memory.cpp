#include "core/host_memory.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>

namespace prentice {

uint64_t host_memory_bytes() {
  const auto total = static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<uint64_t>(sysconf(_SC_PAGE_SIZE));
  for (const char* path : {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}) {
    uint64_t limit = 0;
    if (std::ifstream(path) >> limit && limit > 0) return std::min(total, limit);  // "max" is no number
  }
  return total;
}

}  // namespace prentice
