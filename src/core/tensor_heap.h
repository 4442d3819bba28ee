// Where the CPU's large tensors lie: blocks of whole pages, each the system's own. A heap holds holes between tensors
// of all sizes that come and go, as many as the order of events makes; this holds none that raise the peak, so that the
// peak of a run is what lives at one time, and what a plan counts (core/meta_memory.h). Separate from core/host.h,
// which LibTorch's allocators do not concern.
#pragma once

#include <c10/core/Allocator.h>

#include <cstdint>
#include <map>
#include <mutex>
#include <unordered_map>

namespace prentice {

// A block that is freed is kept for the next of about its size while live and kept bytes together stay within the most
// that lived at one time: then it costs nothing, and its pages need not be cleared anew. For all threads.
class TensorHeap : public c10::Allocator {
 public:
  // Smaller blocks are malloc's: a page holds many of them.
  static constexpr size_t kLeastBytes = size_t{64} << 10;

  // Errors: c10::Error in the words of LibTorch's own allocator when the system gives no more (core/out_of_memory.h).
  c10::DataPtr allocate(size_t bytes) override;
  c10::DeleterFnPtr raw_deleter() const override;
  void copy_data(void* to, const void* from, size_t bytes) const override;

  // Gives what is kept back to the system, and forgets what lived before.
  void release();

  struct Use {
    size_t live = 0, kept = 0, peak = 0;  // bytes in whole pages; the most that lived
  };
  Use use() const;

 private:
  struct Block {
    void* data = nullptr;
    size_t bytes = 0;
  };

  Block take_kept(size_t bytes);  // one that can become a block of so many; empty when there is none
  void* fitted(Block, size_t bytes);
  void give_back(size_t above);
  void free(void* data);

  friend TensorHeap& tensor_heap();
  TensorHeap();

  mutable std::mutex mutex_;
  std::multimap<size_t, void*> kept_;
  std::unordered_map<void*, size_t> live_;
  Use use_;
  size_t page_;
};

// The one of the process; nothing lies in it before it is installed.
TensorHeap& tensor_heap();
// Makes it the heap of LibTorch's CPU tensors; for main, before the first of them.
void install_tensor_heap();

}  // namespace prentice
