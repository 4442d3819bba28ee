// Bytes of block types: against hashes of ggml's (scripts/golden/blocks.py), and against ggml itself where it is there.
#include "quant/blocks.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "io/json.h"
#include "io/scratch.h"
#include "io/sha256.h"
#include "quant/encode.h"
#include "quant/encode_blocks.h"
#include "quant/ggml.h"
#include "quant/sample_tensors.h"

namespace prentice {
namespace {

constexpr GgmlType kTypes[] = {GgmlType::Q4_0, GgmlType::Q4_1, GgmlType::Q5_0, GgmlType::Q5_1, GgmlType::Q8_0,
                               GgmlType::Q2_K, GgmlType::Q3_K, GgmlType::Q4_K, GgmlType::Q5_K, GgmlType::Q6_K};

std::vector<std::byte> encoded(const SampleTensor& tensor, GgmlType type, bool weighted, const SearchPath& path) {
  const auto& info = ggml_type_info(type);
  std::vector<std::byte> out(tensor.values.size() / info.block_elements * info.block_bytes);
  const std::span<const float> importance = tensor.importance;
  encode_blocks(tensor.values, *find_block_type(type), weighted ? importance : importance.first(0), out.data(), path);
  return out;
}

// Where two encodings first differ, for people.
std::string difference(const std::vector<std::byte>& a, const std::vector<std::byte>& b, GgmlType type) {
  const auto [x, y] = std::ranges::mismatch(a, b);
  if (x == a.end()) return "";
  const auto at = x - a.begin(), bytes = static_cast<std::ptrdiff_t>(ggml_type_info(type).block_bytes);
  return "block " + std::to_string(at / bytes) + " byte " + std::to_string(at % bytes) + ": " +
         std::to_string(static_cast<int>(*x)) + ", not " + std::to_string(static_cast<int>(*y));
}

bool fits(const SampleTensor& tensor, GgmlType type) {
  return tensor.columns % ggml_type_info(type).block_elements == 0;
}

TEST(Blocks, HaveTheBytesOfGgmlOnEverySampleWithAndWithoutImportanceOnEveryPath) {
  const Ggml ggml;
  if (!ggml.found()) GTEST_SKIP() << "no " << ggml.path();
  for (const auto& tensor : sample_tensors()) {
    for (const GgmlType type : kTypes) {
      if (!fits(tensor, type)) continue;
      for (const bool weighted : {false, true}) {
        const std::span<const float> importance = tensor.importance;
        const auto wanted =
            ggml.encode(type, tensor.values, tensor.columns, weighted ? importance : importance.first(0));
        for (const SearchPath* path : search_paths()) {
          EXPECT_EQ(difference(encoded(tensor, type, weighted, *path), wanted, type), "")
              << ggml_type_info(type).name << " of " << tensor.name << (weighted ? ", weighted, " : ", ") << path->name;
        }
      }
    }
  }
}

// A few columns that count for very much: group scales come out negative, which six bits of a code cannot say.
TEST(Blocks, HaveTheBytesOfGgmlWhereColumnsAreFarApart) {
  const Ggml ggml;
  if (!ggml.found()) GTEST_SKIP() << "no " << ggml.path();
  for (int power = 0; power < 20; ++power) {
    SampleNumbers numbers(40 + static_cast<uint64_t>(power));
    SampleTensor tensor{.name = "10^" + std::to_string(power), .rows = 96, .columns = 256};
    for (int64_t i = 0; i < tensor.rows * tensor.columns; ++i)
      tensor.values.push_back(static_cast<float>(numbers.normal()));
    for (int64_t i = 0; i < tensor.columns; ++i)
      tensor.importance.push_back(
          static_cast<float>(std::abs(numbers.normal()) * (i % 32 == 9 ? std::pow(10, power) : 1)));
    for (const GgmlType type : kTypes) {
      const auto wanted = ggml.encode(type, tensor.values, tensor.columns, tensor.importance);
      EXPECT_EQ(difference(encoded(tensor, type, true, fastest_path()), wanted, type), "")
          << ggml_type_info(type).name << " of " << tensor.name;
    }
  }
}

TEST(Blocks, DecodeToTheValuesOfGgml) {
  const Ggml ggml;
  if (!ggml.found()) GTEST_SKIP() << "no " << ggml.path();
  SampleNumbers numbers(5);
  for (const GgmlType type : kTypes) {
    std::vector<std::byte> bytes(64 * ggml_type_info(type).block_bytes);
    for (auto& byte : bytes) byte = static_cast<std::byte>(numbers.next() & 0xbf);  // any bytes are some values
    const auto wanted = ggml.decode(type, bytes);
    std::vector<float> found(wanted.size());
    decode(bytes, type, found);
    for (size_t i = 0; i < wanted.size(); ++i) {
      if (std::isnan(wanted[i]) && std::isnan(found[i])) continue;
      ASSERT_EQ(found[i], wanted[i]) << ggml_type_info(type).name << " element " << i;
    }
  }
}

// 4 x 512, x_k = (((37k) mod 1009) - 504) / 8192, importance (((29j) mod 97) + 1) / 16; hashes of ggml's bytes.
TEST(Blocks, HaveTheBytesOfLlamaCpp) {
  struct Case {
    GgmlType type;
    const char *plain, *weighted;
  };
  const Case cases[] = {{GgmlType::Q4_0, "5143a82bcfdb3d49", "8113545cc4a54e4f"},
                        {GgmlType::Q4_1, "35c23e5d9f70fe9b", "18b4c0233a4dc652"},
                        {GgmlType::Q5_0, "5d0520e8ebfb83ab", "0640f0ad7c736f20"},
                        {GgmlType::Q5_1, "129d99319ac51142", "102d31de2db1eece"},
                        {GgmlType::Q8_0, "8611787f2abf9fd6", "8611787f2abf9fd6"},
                        {GgmlType::Q2_K, "8467197330e2631d", "d97fb352c365ca0a"},
                        {GgmlType::Q3_K, "d8d8c1a4db874097", "14ace4b3d2bcd782"},
                        {GgmlType::Q4_K, "1cf93128206853eb", "5229c09eb6a91010"},
                        {GgmlType::Q5_K, "d45393ad99e14251", "317a233bf0215a6e"},
                        {GgmlType::Q6_K, "fe2b12d61f3ecb22", "973b65589beca3b1"}};
  SampleTensor tensor{.name = "", .rows = 4, .columns = 512};
  for (int k = 0; k < 2048; ++k) tensor.values.push_back(static_cast<float>((37 * k) % 1009 - 504) / 8192.0f);
  for (int j = 0; j < 512; ++j) tensor.importance.push_back(static_cast<float>((29 * j) % 97 + 1) / 16.0f);
  for (const auto& [type, plain, weighted] : cases) {
    for (const SearchPath* path : search_paths()) {
      const auto name = ggml_type_info(type).name;
      EXPECT_EQ(sha256_hex(encoded(tensor, type, false, *path)).substr(0, 16), plain) << name << " " << path->name;
      EXPECT_EQ(sha256_hex(encoded(tensor, type, true, *path)).substr(0, 16), weighted) << name << " " << path->name;
    }
  }
}

// tests/golden/quant/blocks.json: {type: [sha256 over the bytes of all samples, the same with importance]}.
TEST(Blocks, HaveTheGoldenBytesOfAllSamples) {
  const auto golden = Json::parse_file("tests/golden/quant/blocks.json");
  const auto tensors = sample_tensors();
  for (const GgmlType type : kTypes) {
    for (const bool weighted : {false, true}) {
      std::vector<std::byte> all;
      for (const auto& tensor : tensors) {
        if (!fits(tensor, type)) continue;
        const auto bytes = encoded(tensor, type, weighted, fastest_path());
        all.insert(all.end(), bytes.begin(), bytes.end());
      }
      const std::string name(ggml_type_info(type).name);
      EXPECT_EQ(sha256_hex(all), golden.at(name).as_array()[weighted].as_string()) << name;
    }
  }
}

TEST(Blocks, WhatIsNotFiniteIsRefusedByName) {
  for (const GgmlType type : kTypes) {
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), HUGE_VALF, -HUGE_VALF}) {
      std::vector<float> values(512, 0.5f);
      values[300] = bad;
      std::vector<std::byte> out;
      ExitCode code = ExitCode::ok;
      const std::string message = message_of([&] { encode(values, type, out); }, &code);
      EXPECT_TRUE(contains(message, "element 300 is ")) << message;
      EXPECT_TRUE(contains(message, std::string(ggml_type_info(type).name))) << message;
      EXPECT_EQ(code, ExitCode::numerical);
    }
  }
}

TEST(Blocks, AStepThatNoHalfHoldsIsRefused) {
  for (const GgmlType type : kTypes) {
    std::vector<float> values(256, 0.5f);
    values[7] = -3e38f;
    std::vector<std::byte> out;
    ExitCode code = ExitCode::ok;
    EXPECT_TRUE(contains(message_of([&] { encode(values, type, out); }, &code), "is too large for"))
        << ggml_type_info(type).name;
    EXPECT_EQ(code, ExitCode::model);
  }
}

}  // namespace
}  // namespace prentice
