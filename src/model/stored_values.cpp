#include "model/stored_values.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace prentice {

namespace {

constexpr uintptr_t kHugePage = uintptr_t{2} << 20, kPage = 4096;
constexpr int64_t kSlice = int64_t{8} << 20;

// Memory that nothing has touched yet costs a fault for every 4 kB of it, which is more time than the copy; in large
// pages it costs next to nothing. Best effort: where the system does not know the advice, loading is only slower.
void prefer_huge_pages(void* data, size_t bytes) {
  const auto begin = (reinterpret_cast<uintptr_t>(data) + kHugePage - 1) & ~(kHugePage - 1);
  const auto end = (reinterpret_cast<uintptr_t>(data) + bytes) & ~(kHugePage - 1);
  if (end > begin) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
}

// Maps what is about to be read all at once instead of a few pages a fault.
void expect_reading(const std::byte* data, size_t bytes) {
  const auto begin = reinterpret_cast<uintptr_t>(data) & ~(kPage - 1);
  const auto end = reinterpret_cast<uintptr_t>(data) + bytes;
#ifdef MADV_POPULATE_READ
  ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_POPULATE_READ);
#else
  ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_WILLNEED);
#endif
}

void copy_bytes(std::byte* to, const std::byte* from, int64_t bytes) {
  at::parallel_for(0, (bytes + kSlice - 1) / kSlice, 1, [&](int64_t first, int64_t last) {
    for (int64_t slice = first; slice < last; ++slice) {
      const int64_t begin = slice * kSlice;
      const auto size = static_cast<size_t>(std::min(kSlice, bytes - begin));
      expect_reading(from + begin, size);
      std::memcpy(to + begin, from + begin, size);
    }
  });
}

}  // namespace

std::optional<c10::ScalarType> stored_type(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return at::kFloat;
    case DType::bf16:
      return at::kBFloat16;
    case DType::f16:
      return at::kHalf;
    case DType::f64:
      return at::kDouble;
    default:
      return std::nullopt;
  }
}

Tensor stored_values(const TensorView& view) {
  Tensor values = at::empty(view.shape, at::TensorOptions(*stored_type(view.dtype)));
  if (!view.bytes.empty()) std::memcpy(values.mutable_data_ptr(), view.bytes.data(), view.bytes.size());
  return values;
}

void copy_stored(Tensor& destination, const TensorView& view) {
  const c10::ScalarType type = *stored_type(view.dtype);
  if (destination.is_cpu()) prefer_huge_pages(destination.mutable_data_ptr(), destination.nbytes());
  if (destination.is_cpu() && destination.scalar_type() == type && destination.is_contiguous()) {
    return copy_bytes(static_cast<std::byte*>(destination.mutable_data_ptr()), view.bytes.data(),
                      static_cast<int64_t>(view.bytes.size()));
  }
  const bool aligned = reinterpret_cast<uintptr_t>(view.bytes.data()) % c10::elementSize(type) == 0;
  if (!aligned) {
    destination.copy_(stored_values(view));
    return;
  }
  auto* data = const_cast<std::byte*>(view.bytes.data());  // only read: the mapping is read-only
  destination.copy_(at::from_blob(data, view.shape, at::TensorOptions(type)));
}

}  // namespace prentice
