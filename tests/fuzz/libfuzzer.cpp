// The targets under libFuzzer (LLVM): its entry points, and a bound on what an input may hold in memory.
// PRENTICE_FUZZ_TARGET names the target.
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "fuzz/gguf_mutator.h"
#include "fuzz/targets.h"

// sanitizer/allocator_interface.h, which g++ comes without.
extern "C" size_t __sanitizer_get_allocated_size(const volatile void* block);
extern "C" int __sanitizer_install_malloc_and_free_hooks(void (*on_malloc)(const volatile void*, size_t),
                                                         void (*on_free)(const volatile void*));

namespace {

const prentice::fuzz::Target* target = nullptr;
std::atomic<int64_t> held = 0, most = 0;

void note_malloc(const volatile void*, size_t size) {
  const int64_t now = held += static_cast<int64_t>(size);
  if (now > most) most = now;
}
void note_free(const volatile void* block) {
  if (block != nullptr) held -= static_cast<int64_t>(__sanitizer_get_allocated_size(block));
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  const char* name = std::getenv("PRENTICE_FUZZ_TARGET");
  target = prentice::fuzz::find_target(name ? name : "");
  if (target == nullptr) {
    std::fprintf(stderr, "PRENTICE_FUZZ_TARGET names no target\n");
    std::exit(2);
  }
  __sanitizer_install_malloc_and_free_hooks(note_malloc, note_free);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr int64_t kAllowed = int64_t{64} << 20;
  const int64_t before = held;
  most = before;
  target->read(std::as_bytes(std::span(data, size)));
  if (most - before > kAllowed + static_cast<int64_t>(size)) {
    std::fprintf(stderr, "an input of %zu bytes held %lld bytes of memory\n", size,
                 static_cast<long long>(most - before));
    std::abort();
  }
  return 0;
}

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned seed) {
  if (target->is_gguf && seed % 4 != 0) {
    const size_t changed = prentice::fuzz::mutate_gguf(data, size, max_size, seed);
    if (changed > 0) return changed;
  }
  return LLVMFuzzerMutate(data, size, max_size);
}
