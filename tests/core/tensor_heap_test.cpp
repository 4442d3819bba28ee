#include "core/tensor_heap.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <optional>
#include <thread>
#include <vector>

#include "core/host.h"
#include "core/out_of_memory.h"
#include "core/tensor.h"

namespace prentice {
namespace {

constexpr int64_t kMegabyte = int64_t{1} << 20;

class TensorHeapTest : public testing::Test {
 protected:
  void SetUp() override {
    at::set_num_threads(1);  // or the time is that of waiting threads
    install_tensor_heap();
    tensor_heap().release();
  }
};

// Written, so that its pages are there.
Tensor filled(int64_t bytes) { return at::empty({bytes}, at::kByte).fill_(1); }

// Sizes of a step whose rows have another length every time.
int64_t bytes_of(int64_t step, int64_t i) { return kMegabyte / 8 * (1 + (7 * i + 5 * step) % 23) + 64 * step; }

TEST_F(TensorHeapTest, WhatStandsInMemoryIsTheMostThatLivedAtOneTime) {
  const uint64_t before = process_bytes("RssAnon");
  size_t most = 0;
  for (int64_t step = 0; step < 40; ++step) {
    std::vector<Tensor> kept;
    for (int64_t i = 0; i < 40; ++i) {
      kept.push_back(filled(bytes_of(step, i)));
      filled(bytes_of(step, i + 3));
      if (i % 3 == 0) kept.erase(kept.begin() + i / 3);
    }
    const auto use = tensor_heap().use();
    most = std::max(most, use.peak);
    EXPECT_LE(use.live + use.kept, use.peak);
    EXPECT_LT(process_bytes("RssAnon"), before + use.peak + 2 * kMegabyte);
  }
  EXPECT_EQ(tensor_heap().use().live, 0);
  EXPECT_GT(tensor_heap().use().kept, most / 2);  // the next step's, without new pages
  tensor_heap().release();
  EXPECT_EQ(tensor_heap().use().kept, 0);
  EXPECT_LT(process_bytes("RssAnon"), before + 2 * kMegabyte);
}

TEST_F(TensorHeapTest, ABlockOfTheSameSizeIsTakenAgain) {
  const void* first = filled(kMegabyte).const_data_ptr();
  EXPECT_EQ(filled(kMegabyte).const_data_ptr(), first);
  const Tensor near = filled(kMegabyte - 9000);  // of two pages less: those are given back
  EXPECT_EQ(near.const_data_ptr(), first);
  EXPECT_EQ(tensor_heap().use().live, kMegabyte - 8192);
  EXPECT_EQ(tensor_heap().use().kept, 0);
}

TEST_F(TensorHeapTest, ValuesStayThroughOtherTensorsOfAllThreads) {
  std::vector<std::thread> threads;
  std::atomic<int64_t> wrong = 0;
  for (int64_t thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&wrong, thread] {
      std::vector<Tensor> held;
      for (int64_t i = 0; i < 300; ++i) {
        held.push_back(at::empty({bytes_of(thread, i) / 32}, at::kInt).fill_(thread * 1000 + i));
        if (held.size() < 8) continue;
        wrong += held.front().ne(held.front()[0]).any().item<bool>();
        wrong += held.front()[0].item<int>() != thread * 1000 + i - 7;
        held.erase(held.begin());
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(tensor_heap().use().live, 0);
}

TEST_F(TensorHeapTest, SmallTensorsAreNotOfItAndTooLargeOnesAreToldAsOutOfMemory) {
  const Tensor small = at::empty({1000}, at::kByte), none = at::empty({0}, at::kByte);
  EXPECT_EQ(tensor_heap().use().live, 0);
  std::optional<std::string> asked;
  try {
    at::empty({int64_t{1} << 46}, at::kByte);
  } catch (const std::exception& error) {
    asked = out_of_memory(error);
  }
  EXPECT_EQ(asked, "70368744177664 bytes");
  EXPECT_EQ(tensor_heap().use().live, 0);
}

}  // namespace
}  // namespace prentice
