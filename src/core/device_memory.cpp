#include "core/device_memory.h"

#include <c10/core/CachingDeviceAllocator.h>

#include <fstream>
#include <string>

#include "core/host_memory.h"

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

}  // namespace

MemoryUse memory_use(c10::Device device) {
  if (device.is_cpu()) {
    static const uint64_t total = host_memory_bytes();
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
