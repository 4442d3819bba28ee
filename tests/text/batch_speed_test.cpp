// Not a test of speed: prints it, for experiments/tokenization, when asked to.
#include <gtest/gtest.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>

#include "text/tokenizer.h"

namespace prentice {
namespace {

TEST(BatchSpeed, PrintsMegabytesPerSecond) {
  const char* folder = std::getenv("PRENTICE_SPEED_TOKENIZER");
  const char* lines = std::getenv("PRENTICE_SPEED_TEXT");
  const char* threads = std::getenv("PRENTICE_SPEED_THREADS");
  if (!folder || !lines || !threads) GTEST_SKIP() << "experiments/tokenization/run.py sets PRENTICE_SPEED_*";
  auto tokenizer = Tokenizer::load(folder);
  std::vector<std::string> texts;
  std::ifstream file(lines);
  for (std::string line; std::getline(file, line);) texts.push_back(line);
  size_t bytes = 0;
  for (const auto& text : texts) bytes += text.size();
  for (bool offsets : {false, true}) {
    double wall = 1e9, cpu = 1e9;
    size_t ids = 0;
    for (int round = 0; round < 3; ++round) {
      auto start = std::chrono::steady_clock::now();
      std::clock_t start_cpu = std::clock();
      auto encoded = tokenizer.encode_batch(texts, true, offsets, std::atoi(threads));
      wall = std::min(wall, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
      cpu = std::min(cpu, static_cast<double>(std::clock() - start_cpu) / CLOCKS_PER_SEC);
      ids = 0;
      for (const auto& encoding : encoded) ids += encoding.ids.size();
    }
    std::printf("SPEED offsets=%d ids=%zu wall=%.3f cpu=%.3f\n", offsets, ids, static_cast<double>(bytes) / wall / 1e6,
                static_cast<double>(bytes) / cpu / 1e6);
  }
}

}  // namespace
}  // namespace prentice
