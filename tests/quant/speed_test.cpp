// Not a test of speed: prints it, for experiments/quantize, when asked to.
#include <gtest/gtest.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "quant/encode_blocks.h"
#include "quant/ggml.h"
#include "quant/sample_tensors.h"

namespace prentice {
namespace {

template <class Work>
double seconds_of(Work&& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Millions of values a second of one thread: ggml's, then each path's, one after the other in every round.
TEST(QuantSpeed, PrintsValuesASecond) {
  if (std::getenv("PRENTICE_QUANT_SPEED") == nullptr) GTEST_SKIP() << "experiments/quantize/run.py asks for it";
  const Ggml ggml;
  ASSERT_TRUE(ggml.found()) << ggml.path();
  constexpr int64_t kRows = 64, kColumns = 4096;
  std::vector<float> values(kRows * kColumns);
  SampleNumbers numbers(1);
  for (auto& value : values) value = static_cast<float>(numbers.normal());
  for (const GgmlType type : {GgmlType::Q8_0, GgmlType::Q6_K, GgmlType::Q5_K, GgmlType::Q4_K, GgmlType::Q3_K,
                              GgmlType::Q2_K, GgmlType::Q5_1, GgmlType::Q5_0, GgmlType::Q4_1, GgmlType::Q4_0}) {
    const auto& info = ggml_type_info(type);
    std::vector<std::byte> out(values.size() / info.block_elements * info.block_bytes);
    const auto print = [&](const char* who, double seconds) {
      std::printf("SPEED %s %s %.3f\n", std::string(info.name).c_str(), who,
                  static_cast<double>(values.size()) / seconds / 1e6);
    };
    for (int round = 0; round < 5; ++round) {
      print("ggml", seconds_of([&] { ggml.encode(type, values, kColumns, {}); }));
      for (const SearchPath* path : search_paths()) {
        print(path->name, seconds_of([&] { encode_blocks(values, *find_block_type(type), {}, out.data(), *path); }));
      }
    }
  }
}

}  // namespace
}  // namespace prentice
