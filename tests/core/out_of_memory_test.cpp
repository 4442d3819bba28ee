#include "core/out_of_memory.h"

#include <gtest/gtest.h>

#include <new>
#include <stdexcept>

#include "core/error.h"

namespace prentice {
namespace {

TEST(OutOfMemory, IsKnownByTheWordsOfThoseWhoThrow) {
  // As LibTorch 2.11 says it on the host and on a device (c10/core/impl/alloc_cpu.cpp,
  // c10/cuda/CUDACachingAllocator.cpp).
  EXPECT_EQ(out_of_memory(std::runtime_error("[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't "
                                             "allocate memory: you tried to allocate 4294967296 bytes. Error code 12")),
            "4294967296 bytes");
  EXPECT_EQ(out_of_memory(std::runtime_error("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total "
                                             "capacity of 79.10 GiB of which 12.81 MiB is free.")),
            "20.00 MiB");
  EXPECT_EQ(out_of_memory(std::bad_alloc()), "");
}

TEST(OutOfMemory, IsNotWhatIsSaidOfOtherThings) {
  EXPECT_EQ(out_of_memory(std::runtime_error("mat1 and mat2 shapes cannot be multiplied")), std::nullopt);
  EXPECT_EQ(out_of_memory(Error(ExitCode::data, "a row says: CUDA out of memory")), std::nullopt);
}

}  // namespace
}  // namespace prentice
