#include "core/device_memory.h"

#include <c10/core/CachingDeviceAllocator.h>

#include "core/host.h"

namespace prentice {

MemoryUse memory_use(c10::Device device) {
  if (device.is_cpu()) {
    static const uint64_t total = host_memory_bytes();
    return {process_bytes("RssAnon"), total};
  }
  auto* allocator = dynamic_cast<c10::DeviceAllocator*>(c10::GetAllocator(device.type()));
  if (allocator == nullptr || !allocator->initialized()) return {};
  const auto index = device.has_index() ? device.index() : c10::DeviceIndex{0};
  const auto stats = allocator->getDeviceStats(index);
  const auto& reserved = stats.reserved_bytes[static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE)];
  return {static_cast<uint64_t>(reserved.peak), allocator->getMemoryInfo(index).second};
}

}  // namespace prentice
