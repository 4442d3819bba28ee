#include "model/stored_values.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "core/error.h"
#include "core/parallel.h"

namespace prentice {

namespace {

constexpr uintptr_t kHugePage = uintptr_t{2} << 20, kPage = 4096;
constexpr size_t kSliceBytes = size_t{4} << 20;  // of memory: large enough to share out, small enough for the caches

// Memory that nothing has touched yet costs a fault for every 4 kB of it, which is more time than the copy; in large
// pages it costs next to nothing. The neighbours that share the first and the last large page are advised with it, or
// the ends of every tensor stayed in small ones. Best effort: where the system does not know the advice, loading is
// only slower.
void prefer_huge_pages(void* data, size_t bytes) {
  const auto begin = reinterpret_cast<uintptr_t>(data) & ~(kHugePage - 1);
  const auto end = (reinterpret_cast<uintptr_t>(data) + bytes + kHugePage - 1) & ~(kHugePage - 1);
  ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
}

// Has a file that is not in memory yet read ahead in one piece instead of a few pages a fault. Asked of the first page
// alone: advice on pages that are there costs a search for each of them.
void expect_reading(const std::byte* data, size_t bytes) {
  const auto begin = reinterpret_cast<uintptr_t>(data) & ~(kPage - 1);
  const auto end = reinterpret_cast<uintptr_t>(data) + bytes;
  unsigned char resident = 0;
  if (::mincore(reinterpret_cast<void*>(begin), 1, &resident) == 0 && (resident & 1) != 0) return;
  ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_WILLNEED);
}

// The values in place, [elements] of the stored type from element `first` on; a copy where the file holds them at an
// odd address.
Tensor values_at(const TensorView& view, int64_t first, int64_t elements) {
  const auto type = at::TensorOptions(*stored_type(view.dtype));
  const size_t size = c10::elementSize(*stored_type(view.dtype));
  auto* data = const_cast<std::byte*>(view.bytes.data()) + first * size;  // only read: the mapping is read-only
  if (reinterpret_cast<uintptr_t>(data) % size == 0) return at::from_blob(data, {elements}, type);
  Tensor aligned = at::empty({elements}, type);
  std::memcpy(aligned.mutable_data_ptr(), data, elements * size);
  return aligned;
}

// A file's pages that were read once count as memory of the program until they are let go.
void let_go(const std::byte* data, size_t bytes) {
  const auto begin = reinterpret_cast<uintptr_t>(data) & ~(kPage - 1);
  const auto end = (reinterpret_cast<uintptr_t>(data) + bytes + kPage - 1) & ~(kPage - 1);
  ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

// What one thread copies at once.
struct Slice {
  const StoredCopy* copy;
  int64_t first, elements;
};

void copy_slice(const Slice& slice) {
  const auto& [destination, view] = *slice.copy;
  const c10::ScalarType type = *stored_type(view->dtype);
  const size_t size = c10::elementSize(type);
  const std::byte* from = view->bytes.data() + slice.first * size;
  expect_reading(from, slice.elements * size);
  if (destination.scalar_type() == type) {
    auto* to = static_cast<std::byte*>(destination.mutable_data_ptr()) + slice.first * size;
    std::memcpy(to, from, slice.elements * size);
  } else {
    destination.view(-1).narrow(0, slice.first, slice.elements).copy_(values_at(*view, slice.first, slice.elements));
  }
  let_go(from, slice.elements * size);
}

void append_slices(const StoredCopy& copy, std::vector<Slice>& slices) {
  const auto& [destination, view] = copy;
  prefer_huge_pages(destination.mutable_data_ptr(), destination.nbytes());
  const auto elements = static_cast<int64_t>(kSliceBytes / destination.element_size());
  for (int64_t first = 0; first < destination.numel(); first += elements) {
    slices.push_back({&copy, first, std::min(elements, destination.numel() - first)});
  }
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

void copy_stored(const std::vector<StoredCopy>& copies) {
  std::vector<Slice> slices;
  for (const auto& copy : copies) {
    const auto& [destination, view] = copy;
    if (destination.is_cpu() && destination.is_contiguous()) {
      append_slices(copy, slices);
    } else {
      destination.copy_(values_at(*view, 0, destination.numel()).view(view->shape));
      let_go(view->bytes.data(), view->bytes.size());
    }
  }
  // One slice after the other, by whoever is free, so that tensors of every size keep all threads busy.
  std::atomic<size_t> next = 0;
  at::parallel_for(0, at::get_num_threads(), 1, [&](int64_t, int64_t) {
    for (size_t i = next++; i < slices.size(); i = next++) copy_slice(slices[i]);
  });
}

void encode_stored(Nf4& destination, const TensorView& view) {
  const Tensor values = values_at(view, 0, destination.numel());
  with_context(ExitCode::model, "tensor " + view.name, [&] {
    encode_nf4(values, destination);
    if (!std::isfinite(destination.offset)) {
      fail(ExitCode::model, "the mean of its scales is not finite, and nor would be its values in four bits",
           "model.quantize=nf4-single keeps each scale as it is");
    }
  });
  let_go(view.bytes.data(), view.bytes.size());
}

}  // namespace prentice
