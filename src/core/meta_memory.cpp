#include "core/meta_memory.h"

#include <c10/core/Allocator.h>

#include <algorithm>
#include <mutex>

namespace prentice {

namespace {

class Counter : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    const auto held = (static_cast<int64_t>(bytes) + MetaMemory::kGrain - 1) / MetaMemory::kGrain * MetaMemory::kGrain;
    add(held);
    // The context carries the size; it is given back when the storage goes.
    return {nullptr, new int64_t(held), &Counter::release, c10::Device(c10::kMeta)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return nullptr; }  // there is nothing that raw memory could be
  void copy_data(void*, const void*, size_t) const override {}

  void add(int64_t bytes) {
    const std::lock_guard lock(mutex_);
    live_ += bytes;
    peak_ = std::max(peak_, live_);
  }
  int64_t live() const {
    const std::lock_guard lock(mutex_);
    return live_;
  }
  int64_t peak() const {
    const std::lock_guard lock(mutex_);
    return peak_;
  }
  void forget_peak() {
    const std::lock_guard lock(mutex_);
    peak_ = live_;
  }

 private:
  static void release(void* context);

  mutable std::mutex mutex_;
  int64_t live_ = 0, peak_ = 0;
};

// Never destroyed: tensors may outlive whatever stands in main.
Counter& counter() {
  static Counter* const installed = [] {
    auto* made = new Counter;
    c10::SetAllocator(c10::kMeta, made);
    return made;
  }();
  return *installed;
}

void Counter::release(void* context) {
  const auto* held = static_cast<int64_t*>(context);
  counter().add(-*held);
  delete held;
}

}  // namespace

int64_t MetaMemory::live() { return counter().live(); }
int64_t MetaMemory::peak() { return counter().peak(); }
void MetaMemory::forget_peak() { counter().forget_peak(); }

}  // namespace prentice
