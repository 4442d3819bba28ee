// Weights in GGUF blocks: dequantized, looked up, and multiplied straight from the blocks, against the decoded matrix.
#include "kernels/gguf_blocks.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <cstring>

#include "kernels/gguf_product.h"
#include "quant/encode.h"

namespace prentice {
namespace {

constexpr GgmlType kTypes[] = {GgmlType::Q8_0, GgmlType::Q6_K, GgmlType::Q5_K, GgmlType::Q4_K, GgmlType::Q3_K,
                               GgmlType::Q2_K, GgmlType::Q5_1, GgmlType::Q5_0, GgmlType::Q4_1, GgmlType::Q4_0};

std::span<const float> span_of(const Tensor& values) {
  return {values.const_data_ptr<float>(), static_cast<size_t>(values.numel())};
}

GgufBlocks encoded(int64_t rows, int64_t columns, GgmlType type) {
  GgufBlocks made = make_gguf_blocks(rows, columns, type, at::TensorOptions(at::kFloat));
  std::vector<std::byte> bytes;
  encode(span_of(at::randn({rows, columns})), type, bytes);
  std::memcpy(made.bytes.mutable_data_ptr(), bytes.data(), bytes.size());
  return made;
}

// By quant/encode, which tests/quant holds against ggml's own.
Tensor decoded(const GgufBlocks& blocks) {
  Tensor values = at::empty({blocks.rows, blocks.columns});
  decode({static_cast<const std::byte*>(blocks.bytes.const_data_ptr()), static_cast<size_t>(blocks.bytes.numel())},
         blocks.block, {values.mutable_data_ptr<float>(), static_cast<size_t>(values.numel())});
  return values;
}

int64_t columns_for(GgmlType type) { return ggml_type_info(type).block_elements == 32 ? 416 : 768; }

TEST(GgufBlocks, AreDequantizedInAnyType) {
  for (const GgmlType type : kTypes) {
    const GgufBlocks weight = encoded(11, columns_for(type), type);
    const Tensor want = decoded(weight);
    for (const auto to : {at::kFloat, at::kDouble, at::kBFloat16, at::kHalf}) {
      EXPECT_TRUE(at::equal(dequantized(weight, to), want.to(to))) << ggml_type_info(type).name;
    }
    EXPECT_TRUE(at::equal(dequantized(rows_of(weight, 3, 5), at::kFloat), want.narrow(0, 3, 5)));
  }
}

TEST(GgufBlocks, OfShapesAloneTheyAreAShape) {
  const GgufBlocks weight = make_gguf_blocks(6, 64, GgmlType::Q4_0, at::TensorOptions(at::kFloat).device(at::kMeta));
  EXPECT_EQ(weight.bytes.numel(), 6 * 2 * 18);
  const Tensor values = dequantized(weight, at::kBFloat16);
  EXPECT_TRUE(values.is_meta());
  EXPECT_EQ(values.sizes(), (at::IntArrayRef{6, 64}));
}

TEST(GgufBlocks, RowsAreLookedUp) {
  const GgufBlocks weight = encoded(9, 256, GgmlType::Q6_K);
  const Tensor ids = at::tensor(std::vector<int64_t>{8, 0, 0, 3});
  EXPECT_TRUE(at::equal(looked_up(weight, ids), at::index_select(decoded(weight), 0, ids)));
}

// Sums of products in f32, in another order: relative to what is summed.
TEST(GgufProduct, IsTheProductWithTheDecodedMatrix) {
  for (const GgmlType type : kTypes) {
    const GgufBlocks weight = encoded(37, columns_for(type), type);
    const Tensor exact = decoded(weight).to(at::kDouble);
    for (const int64_t tokens : {1, 3, 8}) {
      const Tensor x = at::randn({tokens, weight.columns});
      ASSERT_TRUE(worth_gguf_product(x, weight));
      const Tensor want = at::mm(x.to(at::kDouble), exact.t());
      const Tensor scale = at::mm(x.to(at::kDouble).abs(), exact.abs().t());
      const Tensor error = (gguf_product(x, weight).to(at::kDouble) - want).abs() / scale;
      EXPECT_LT(error.max().item<double>(), 2e-6) << ggml_type_info(type).name;
    }
  }
}

TEST(GgufProduct, TakesAColumnRangeOfAWiderMatrix) {
  const GgufBlocks weight = encoded(5, 64, GgmlType::Q8_0);
  const Tensor wide = at::randn({2, 100}), x = wide.narrow(1, 20, 64);
  EXPECT_TRUE(at::equal(gguf_product(x, weight), gguf_product(x.contiguous(), weight)));
}

}  // namespace
}  // namespace prentice
