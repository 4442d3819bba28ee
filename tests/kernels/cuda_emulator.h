// Runs the text of a CUDA kernel on the host, so that its indices, barriers and reductions are executed where there is
// no GPU. Include it before the kernel's header. A block's threads are fibers, taken in another order in each round:
// what a missing barrier would let happen on a device shows as another result.
#pragma once

#include <ucontext.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <memory>
#include <random>
#include <vector>

#define __global__
#define __device__ inline
#define __shared__ static  // one block runs at a time

namespace prentice::emulated {

struct Index {
  unsigned x = 0, y = 0;
};

inline Index thread_index, block_index, block_shape;

// The threads of one block.
class Block {
 public:
  Block(unsigned threads, uint32_t seed) : order_(threads), random_(seed), fibers_(threads) {
    for (unsigned i = 0; i < threads; ++i) order_[i] = i;
    warps_.resize((threads + 31) / 32);
    for (unsigned i = 0; i < threads; ++i) ++warps_[i / 32].members;
    all_.members = threads;
  }

  void run(const std::function<void()>& kernel) {
    current_ = this;
    for (unsigned i = 0; i < fibers_.size(); ++i) {
      Fiber& fiber = fibers_[i];
      getcontext(&fiber.context);
      fiber.context.uc_stack.ss_sp = stack_of(i);
      fiber.context.uc_stack.ss_size = kStack;
      fiber.context.uc_link = &scheduler_;
      fiber.kernel = &kernel;
      makecontext(&fiber.context, reinterpret_cast<void (*)()>(&Block::enter), 0);
    }
    for (size_t left = fibers_.size(); left > 0;) {
      std::shuffle(order_.begin(), order_.end(), random_);
      moved_ = false;
      for (const unsigned i : order_) {
        if (fibers_[i].done || fibers_[i].waits()) continue;
        thread_index.x = running_ = i;
        swapcontext(&scheduler_, &fibers_[i].context);
        if (fibers_[i].done) --left, moved_ = true;
      }
      if (!moved_ && left > 0) stuck(left);
    }
    current_ = nullptr;
  }

  static void wait_for_block() { current_->wait(current_->all_); }

  template <class T>
  static T exchanged(T value, int lane_mask) {
    static_assert(sizeof(T) <= sizeof(uint64_t));
    Block& block = *current_;
    const unsigned self = block.running_;
    Warp& warp = block.warps_[self / 32];
    std::copy_n(reinterpret_cast<const char*>(&value), sizeof(T), reinterpret_cast<char*>(&warp.slots[self % 32]));
    block.wait(warp);
    std::copy_n(reinterpret_cast<const char*>(&warp.slots[self % 32 ^ static_cast<unsigned>(lane_mask)]), sizeof(T),
                reinterpret_cast<char*>(&value));
    block.wait(warp);  // everybody has read
    return value;
  }

 private:
  static constexpr size_t kStack = 64 << 10;

  struct Barrier {
    unsigned members = 0, arrived = 0, round = 0;
  };
  struct Fiber {
    ucontext_t context{};
    const std::function<void()>* kernel = nullptr;
    const Barrier* barrier = nullptr;  // what it waits at, since which round of it
    unsigned round = 0;
    bool done = false;

    bool waits() const { return barrier && barrier->round == round; }
  };
  struct Warp : Barrier {
    uint64_t slots[32];
  };

  static char* stack_of(unsigned thread) {
    static std::vector<std::unique_ptr<char[]>> stacks;  // of all blocks, which follow one another
    while (stacks.size() <= thread) stacks.push_back(std::make_unique<char[]>(kStack));
    return stacks[thread].get();
  }

  static void enter() {
    Fiber& fiber = current_->fibers_[current_->running_];
    (*fiber.kernel)();
    fiber.done = true;
  }

  void wait(Barrier& barrier) {
    Fiber& self = fibers_[running_];
    moved_ = true;
    if (++barrier.arrived == barrier.members) {
      barrier.arrived = 0;
      ++barrier.round;
      return;
    }
    self.barrier = &barrier, self.round = barrier.round;
    swapcontext(&self.context, &scheduler_);  // comes back when the last one is there
  }

  // Threads wait at a barrier that the others have passed by or returned before.
  [[noreturn]] static void stuck(size_t threads) {
    std::cerr << "cuda_emulator: " << threads << " threads wait at a barrier that not all of them reach\n";
    std::abort();
  }

  static inline Block* current_ = nullptr;
  std::vector<unsigned> order_;
  std::mt19937 random_;
  std::vector<Fiber> fibers_;
  std::vector<Warp> warps_;
  Barrier all_;
  ucontext_t scheduler_{};
  unsigned running_ = 0;
  bool moved_ = false;
};

// kernel<<<blocks, threads>>>(given), the blocks after one another.
template <class Given>
void launch(void (*kernel)(Given), Index blocks, unsigned threads, const Given& given, uint32_t seed = 1) {
  block_shape = {threads, 1};
  for (unsigned y = 0; y < std::max(1u, blocks.y); ++y) {
    for (unsigned x = 0; x < blocks.x; ++x) {
      block_index = {x, y};
      Block(threads, seed + 31 * x + y).run([&] { kernel(given); });
    }
  }
}

}  // namespace prentice::emulated

#define threadIdx ::prentice::emulated::thread_index
#define blockIdx ::prentice::emulated::block_index
#define blockDim ::prentice::emulated::block_shape
#define __syncthreads() ::prentice::emulated::Block::wait_for_block()
#define __shfl_xor_sync(mask, value, lane_mask) ::prentice::emulated::Block::exchanged(value, lane_mask)
