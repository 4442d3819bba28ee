// Whether the rows that a kernel is given can be moved 16 bytes at a time. For the launchers, on the host.
#pragma once

#include <cstdint>
#include <initializer_list>

namespace prentice {

struct KernelRows {
  const void* data;
  int64_t stride;  // elements
};

// Every row starts at a multiple of 16 bytes, and `width` values fill whole vectors of `vector` values.
inline bool aligned_rows(std::initializer_list<KernelRows> matrices, int64_t width, int64_t vector) {
  if (width % vector != 0) return false;
  for (const KernelRows& rows : matrices) {
    if (reinterpret_cast<uintptr_t>(rows.data) % 16 != 0 || rows.stride % vector != 0) return false;
  }
  return true;
}

}  // namespace prentice
