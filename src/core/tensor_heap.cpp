#include "core/tensor_heap.h"

#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/alloc_cpu.h>
#include <c10/util/Exception.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

namespace prentice {

namespace {

void free_small(void* data) { c10::free_cpu(data); }

void* pages_of_the_system(size_t bytes) {
  return mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

}  // namespace

TensorHeap::TensorHeap() : page_(static_cast<size_t>(sysconf(_SC_PAGE_SIZE))) {}

c10::DataPtr TensorHeap::allocate(size_t bytes) {
  const c10::Device cpu(c10::kCPU);
  if (bytes < kLeastBytes || bytes > PTRDIFF_MAX - page_) {
    void* data = c10::alloc_cpu(bytes);
    return {data, data, &free_small, cpu};
  }
  const size_t whole = (bytes + page_ - 1) / page_ * page_;
  const std::lock_guard lock(mutex_);
  Block block = take_kept(whole);
  use_.live += whole, use_.peak = std::max(use_.peak, use_.live);
  give_back(use_.peak);  // before the system gives more
  void* data = fitted(block, whole);
  if (data == MAP_FAILED) {
    give_back(0);
    data = fitted({}, whole);
  }
  if (data == MAP_FAILED) {
    use_.live -= whole;
    TORCH_CHECK(false, "can't allocate memory: you tried to allocate ", bytes, " bytes");
  }
  live_.emplace(data, whole);
  return {data, data, raw_deleter(), cpu};
}

// Pages move with mremap and keep their place in memory, so that a near size will do; one far smaller would do as
// little as none, and of one far larger most would be given back.
TensorHeap::Block TensorHeap::take_kept(size_t bytes) {
  auto found = kept_.lower_bound(bytes);
  if (found == kept_.end() || found->first - bytes > bytes / 4) {
    if (found == kept_.begin() || bytes - std::prev(found)->first > bytes / 2) return {};
    --found;
  }
  const Block block{found->second, found->first};
  kept_.erase(found);
  use_.kept -= block.bytes;
  return block;
}

void* TensorHeap::fitted(Block block, size_t bytes) {
  if (block.data == nullptr) return pages_of_the_system(bytes);
  if (block.bytes == bytes) return block.data;
  void* moved = mremap(block.data, block.bytes, bytes, MREMAP_MAYMOVE);
  if (moved == MAP_FAILED) munmap(block.data, block.bytes);
  return moved;
}

// The largest first, until live and kept are not above so many bytes.
void TensorHeap::give_back(size_t above) {
  while (!kept_.empty() && use_.live + use_.kept > above) {
    const auto largest = std::prev(kept_.end());
    munmap(largest->second, largest->first);
    use_.kept -= largest->first;
    kept_.erase(largest);
  }
}

void TensorHeap::free(void* data) {
  const std::lock_guard lock(mutex_);
  const auto found = live_.find(data);
  if (found == live_.end()) return free_small(data);
  use_.live -= found->second, use_.kept += found->second;
  kept_.emplace(found->second, data);
  live_.erase(found);
}

c10::DeleterFnPtr TensorHeap::raw_deleter() const {
  return [](void* data) { tensor_heap().free(data); };
}

void TensorHeap::copy_data(void* to, const void* from, size_t bytes) const { default_copy_data(to, from, bytes); }

void TensorHeap::release() {
  const std::lock_guard lock(mutex_);
  give_back(0);
  use_.peak = use_.live;
}

TensorHeap::Use TensorHeap::use() const {
  const std::lock_guard lock(mutex_);
  return use_;
}

TensorHeap& tensor_heap() {
  static auto* const heap = new TensorHeap;  // never destroyed: tensors may outlive whatever stands in main
  return *heap;
}

void install_tensor_heap() { c10::SetCPUAllocator(&tensor_heap(), /*priority=*/1); }

}  // namespace prentice
