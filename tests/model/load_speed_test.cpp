// Not a test of speed: prints it, for experiments/load, when asked to.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>

#include "model/model.h"

namespace prentice {
namespace {

// Anonymous memory of this process, in bytes.
int64_t anonymous_memory() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    int64_t kilobytes = 0;
    if (word == "RssAnon:" && status >> kilobytes) return kilobytes * 1024;
  }
  return 0;
}

TEST(LoadSpeed, PrintsSecondsAndMemory) {
  const char* folder = std::getenv("PRENTICE_SPEED_MODEL");
  if (!folder) GTEST_SKIP() << "experiments/load/run.py sets PRENTICE_SPEED_MODEL";
  const char* rounds = std::getenv("PRENTICE_SPEED_ROUNDS");
  const int64_t before = anonymous_memory();
  for (int round = 0; round < (rounds ? std::atoi(rounds) : 1); ++round) {
    const auto start = std::chrono::steady_clock::now();
    const Model model = load_model(folder, {.dtype = at::kBFloat16, .device = at::kCPU});
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    std::printf("SPEED seconds=%.4f anonymous=%lld\n", seconds, static_cast<long long>(anonymous_memory() - before));
  }
}

}  // namespace
}  // namespace prentice
