#include "train/device_memory.h"

#include <c10/core/CachingDeviceAllocator.h>

#include <algorithm>
#include <fstream>
#include <string>

namespace prentice {

namespace {

// Value of the first line "KEY   123 kB" in bytes; 0 when there is none.
uint64_t kilobytes_of(const char* path, const std::string& key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(key)) return std::strtoull(line.c_str() + key.size(), nullptr, 10) * 1024;
  }
  return 0;
}

uint64_t machine_bytes() {
  uint64_t total = kilobytes_of("/proc/meminfo", "MemTotal:");
  uint64_t limit = 0;
  for (const char* path : {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}) {
    if (std::ifstream(path) >> limit && limit > 0) return std::min(total, limit);  // "max" is no number
  }
  return total;
}

}  // namespace

MemoryUse memory_use(c10::Device device) {
  if (device.is_cpu()) {
    static const uint64_t total = machine_bytes();
    return {kilobytes_of("/proc/self/status", "RssAnon:"), total};
  }
  auto* allocator = dynamic_cast<c10::DeviceAllocator*>(c10::GetAllocator(device.type()));
  if (allocator == nullptr || !allocator->initialized()) return {};
  const auto index = device.has_index() ? device.index() : c10::DeviceIndex{0};
  const auto stats = allocator->getDeviceStats(index);
  const auto& reserved = stats.reserved_bytes[static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE)];
  return {static_cast<uint64_t>(reserved.peak), allocator->getMemoryInfo(index).second};
}

}  // namespace prentice
