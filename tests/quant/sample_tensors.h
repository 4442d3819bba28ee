// Tensors that block encoders are tried on, made of integers and exact sums so that scripts/golden/blocks.py makes the
// same ones.
#pragma once

#include <cmath>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace prentice {

struct SampleTensor {
  std::string name;
  int64_t rows, columns;
  std::vector<float> values;
  std::vector<float> importance;  // [columns]
};

// Knuth's MMIX generator; the upper bits.
class SampleNumbers {
 public:
  explicit SampleNumbers(uint64_t seed) : state_(seed) { next(); }
  uint32_t next() {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<uint32_t>(state_ >> 33);
  }
  // Nearly normal with deviation 1/16, exact in f32: twelve integers of 16 bits.
  double normal() {
    int64_t sum = 0;
    for (int i = 0; i < 12; ++i) sum += next() >> 15;
    return static_cast<double>(sum - 6 * 65535) * 0x1p-20;
  }

 private:
  uint64_t state_;
};

using SampleRule = std::function<double(SampleNumbers&, int64_t)>;  // of the element's index

inline std::vector<std::pair<std::string, SampleRule>> sample_rules() {
  return {
      {"normal", [](SampleNumbers& n, int64_t) { return n.normal(); }},
      {"heavy tails", [](SampleNumbers& n, int64_t) { return std::pow(n.normal(), 3) * 64; }},
      {"constant", [](SampleNumbers&, int64_t) { return 0.3; }},
      {"negative constant", [](SampleNumbers&, int64_t) { return -0.7; }},
      {"zero", [](SampleNumbers&, int64_t) { return 0.0; }},
      {"zeros of both signs", [](SampleNumbers& n, int64_t) { return n.next() % 2 ? 0.0 : -0.0; }},
      {"minus zero", [](SampleNumbers&, int64_t) { return -0.0; }},
      {"one outlier", [](SampleNumbers& n, int64_t i) { return n.normal() + (i % 509 == 100 ? 50 : 0); }},
      {"one negative outlier", [](SampleNumbers& n, int64_t i) { return n.normal() - (i % 509 == 7 ? 50 : 0); }},
      {"one value", [](SampleNumbers&, int64_t i) { return i % 256 == 77 ? -0.25 : 0.0; }},
      {"denormal", [](SampleNumbers& n, int64_t) { return n.normal() * 0x1p-130; }},
      {"below the least step", [](SampleNumbers& n, int64_t) { return n.normal() * 0x1p-60; }},
      {"small", [](SampleNumbers& n, int64_t) { return n.normal() * 0x1p-20; }},
      {"huge", [](SampleNumbers& n, int64_t) { return n.normal() * 0x1p16; }},
      {"positive", [](SampleNumbers& n, int64_t) { return std::abs(n.normal()); }},
      {"negative", [](SampleNumbers& n, int64_t) { return -1 - std::abs(n.normal()); }},
      {"nearly constant", [](SampleNumbers& n, int64_t) { return -1 - (n.next() % 4) * 0x1p-23; }},
      {"ramp", [](SampleNumbers&, int64_t i) { return static_cast<double>(i % 997 - 498) * 0x1p-10; }},
      {"two values", [](SampleNumbers& n, int64_t) { return n.next() % 2 ? 0.125 : -0.5; }},
      {"sparse", [](SampleNumbers& n, int64_t) { return n.next() % 16 ? 0.0 : n.normal(); }},
      {"groups of other sizes",
       [](SampleNumbers& n, int64_t i) { return n.normal() * std::exp2(static_cast<double>(-(i / 16 * 7 % 23))); }},
  };
}

// Every rule in three shapes, one of them of rows that only blocks of 32 divide.
inline std::vector<SampleTensor> sample_tensors() {
  std::vector<SampleTensor> out;
  uint64_t seed = 1;
  const std::pair<int64_t, int64_t> shapes[] = {{1, 256}, {17, 256}, {3, 768}, {5, 416}};
  for (const auto& [name, rule] : sample_rules()) {
    for (const auto& [rows, columns] : shapes) {
      SampleNumbers numbers(seed++);
      SampleTensor tensor{
          .name = name + " " + std::to_string(rows) + "x" + std::to_string(columns), .rows = rows, .columns = columns};
      for (int64_t i = 0; i < rows * columns; ++i) tensor.values.push_back(static_cast<float>(rule(numbers, i)));
      for (int64_t i = 0; i < columns; ++i) {  // mean squares: some columns count for nothing, some for a lot
        const double x = numbers.normal();
        tensor.importance.push_back(static_cast<float>(i % 37 == 5 ? 0.0 : x * x * (i % 61 == 0 ? 1024 : 1)));
      }
      out.push_back(std::move(tensor));
    }
  }
  return out;
}

}  // namespace prentice
