// Training against a file's rounding: products and gradients beside those of a dense layer that has the rounded weight,
// and which values of the factors that weight was made of.
#include "nn/served_weight.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <cstring>

#include "nn/merge_rows.h"
#include "nn/products.h"
#include "quant/encode.h"

namespace prentice {
namespace {

constexpr int64_t kIn = 256, kTokens = 9;

// Multiples of 1/64, so that sums of a few products are exact in any order.
Tensor coarse(at::IntArrayRef shape, at::ScalarType type) {
  return at::randint(-64, 65, shape, at::kFloat).div(64).to(type);
}

Linear layer_of(int64_t out, at::ScalarType type) {
  Linear made{.weight = Dense{coarse({out, kIn}, type)},
              .bias = at::randn({out}, type),
              .in_features = kIn,
              .out_features = out};
  made.lora = Lora{.a = coarse({3, kIn}, type).set_requires_grad(true),
                   .b = coarse({out, 3}, type).set_requires_grad(true),
                   .scale = 0.5};
  return made;
}

Linear served_layer(int64_t out, GgmlType type, at::ScalarType dtype = at::kDouble) {
  Linear made = layer_of(out, dtype);
  made.lora->served = std::make_shared<ServedWeight>(dense_weight(made), ServedType{.type = type});
  return made;
}

// W + scale B A, number by number.
std::vector<float> merged_values(const Linear& layer) {
  const Tensor w = dense_weight(layer).to(at::kFloat), a = layer.lora->a.detach().to(at::kFloat),
               b = layer.lora->b.detach().to(at::kFloat);
  std::vector<float> values;
  for (int64_t row = 0; row < w.size(0); ++row) {
    for (int64_t column = 0; column < kIn; ++column) {
      float sum = 0;
      for (int64_t r = 0; r < a.size(0); ++r)
        sum += b.const_data_ptr<float>()[row * a.size(0) + r] * a.const_data_ptr<float>()[r * kIn + column];
      values.push_back(w.const_data_ptr<float>()[row * kIn + column] + static_cast<float>(layer.lora->scale) * sum);
    }
  }
  return values;
}

// What the bytes of the merged weight stand for.
Tensor rounded(const Linear& layer, GgmlType type) {
  std::vector<std::byte> bytes;
  const auto values = merged_values(layer);
  encode(values, type, bytes);
  Tensor out = at::empty({layer.out_features, kIn});
  decode(bytes, type, {out.mutable_data_ptr<float>(), values.size()});
  return out.to(dense_weight(layer).scalar_type());
}

constexpr GgmlType kTypes[] = {GgmlType::Q4_K, GgmlType::Q6_K, GgmlType::Q2_K, GgmlType::Q5_0,
                               GgmlType::Q8_0, GgmlType::F16,  GgmlType::BF16};

TEST(ServedWeight, IsTheBytesOfTheMergedWeight) {
  for (const GgmlType type : kTypes) {
    const Linear layer = served_layer(12, type, at::kFloat);
    std::vector<std::byte> wanted;
    encode(merged_values(layer), type, wanted);
    const HeldWeight& held = layer.lora->served->of(dense_weight(layer), *layer.lora);
    if (const auto* blocks = std::get_if<GgufBlocks>(&held)) {
      ASSERT_EQ(blocks->bytes.nbytes(), wanted.size());
      EXPECT_EQ(std::memcmp(blocks->bytes.const_data_ptr(), wanted.data(), wanted.size()), 0) << static_cast<int>(type);
    } else {
      EXPECT_TRUE(at::equal(std::get<Dense>(held).weight, rounded(layer, type))) << static_cast<int>(type);
    }
  }
}

// More rows than are merged at a time.
TEST(ServedWeight, EveryRowOfALargeWeightHasItsOwnFactors) {
  const Linear layer = served_layer(rows_at_a_time(kIn, 1) + 12, GgmlType::Q8_0, at::kFloat);
  std::vector<std::byte> wanted;
  encode(merged_values(layer), GgmlType::Q8_0, wanted);
  const auto& blocks = std::get<GgufBlocks>(layer.lora->served->of(dense_weight(layer), *layer.lora));
  ASSERT_EQ(blocks.bytes.nbytes(), wanted.size());
  EXPECT_EQ(std::memcmp(blocks.bytes.const_data_ptr(), wanted.data(), wanted.size()), 0);
}

TEST(ServedWeight, ACopyLeavesTheValuesOfWhatItWasMadeOf) {
  const Linear layer = served_layer(12, GgmlType::Q4_K, at::kFloat), other = layer_of(12, at::kFloat);
  const auto bytes = [&] {
    return std::get<GgufBlocks>(layer.lora->served->of(dense_weight(layer), *layer.lora)).bytes;
  };
  const Tensor before = bytes().clone();
  ServedWeight copy(*layer.lora->served);
  EXPECT_FALSE(at::equal(std::get<GgufBlocks>(copy.of(dense_weight(other), *other.lora)).bytes, before));
  EXPECT_TRUE(at::equal(bytes(), before));
}

// The weight as autograd of a dense layer sees it: the value is rounded, the derivative that of W + scale B A.
Tensor straight_through(const Linear& layer, GgmlType type) {
  const Tensor merged = dense_weight(layer) + layer.lora->scale * layer.lora->b.matmul(layer.lora->a);
  return merged + (rounded(layer, type) - merged).detach();
}

TEST(ServedWeight, ProductsAndGradientsAreThoseOfADenseLayerWithTheRoundedWeight) {
  for (const GgmlType type : kTypes) {
    // Beside it an adapter that is not served, and a layer without one.
    Linear plain = layer_of(5, at::kDouble), frozen = layer_of(4, at::kDouble);
    frozen.lora.reset();
    const Projection projection{.parts = {served_layer(12, type), plain, frozen, served_layer(7, GgmlType::Q8_0)}};
    const auto& parts = projection.parts;
    const Tensor x = at::randn({kTokens, kIn}, at::kDouble).set_requires_grad(true);
    const auto found = project(projection, x);
    const std::vector<Tensor> wanted = {
        x.matmul(straight_through(parts[0], type).t()) + parts[0].bias,
        x.matmul((dense_weight(plain) + plain.lora->scale * plain.lora->b.matmul(plain.lora->a)).t()) + plain.bias,
        x.matmul(dense_weight(frozen).t()) + frozen.bias,
        x.matmul(straight_through(parts[3], GgmlType::Q8_0).t()) + parts[3].bias};
    std::vector<Tensor> grads, leaves = {x};
    for (size_t i = 0; i < found.size(); ++i) {
      EXPECT_LT(relative(found[i], wanted[i]), 1e-13) << static_cast<int>(type) << ", part " << i;
      grads.push_back(at::randn(found[i].sizes(), at::kDouble));
      if (parts[i].lora) leaves.push_back(parts[i].lora->a), leaves.push_back(parts[i].lora->b);
    }
    const auto ours = torch::autograd::grad(found, leaves, grads),
               theirs = torch::autograd::grad(wanted, leaves, grads);
    for (size_t i = 0; i < leaves.size(); ++i)
      EXPECT_LT(relative(ours[i], theirs[i]), 1e-12) << static_cast<int>(type) << ", leaf " << i;
  }
}

TEST(ServedWeight, WithoutGradientsTheProductIsTheSameToTheBit) {
  const Linear layer = served_layer(12, GgmlType::Q4_K, at::kFloat);
  const Tensor x = at::randn({kTokens, kIn}), with = linear(layer, x).detach();
  const c10::NoGradGuard no_grad;
  EXPECT_TRUE(at::equal(linear(layer, x), with));
}

TEST(ServedWeight, ASwitchedOffAdapterLeavesTheBaseAsItIs) {
  Linear layer = served_layer(12, GgmlType::Q4_K);
  layer.lora->enabled = false;
  const Tensor x = at::randn({kTokens, kIn}, at::kDouble);
  EXPECT_LT(relative(linear(layer, x), x.matmul(dense_weight(layer).t()) + layer.bias), 1e-14);
}

// The frozen weight is the encoder's to see once: it is changed here, behind the adapter's back, to see who reads it.
TEST(ServedWeight, IsEncodedOnceForEachValueOfTheFactors) {
  const Linear layer = served_layer(12, GgmlType::Q4_K);
  const Tensor x = at::randn({kTokens, kIn}, at::kDouble);
  const c10::NoGradGuard no_grad;
  const Tensor first = linear(layer, x);
  dense_weight(layer).mul_(2);
  EXPECT_TRUE(at::equal(linear(layer, x), first)) << "encoded again though no factor has changed";
  for (const Tensor& factor : {layer.lora->a, layer.lora->b}) {
    const Tensor before = linear(layer, x);
    factor.detach().add_(coarse(factor.sizes(), at::kDouble));
    const Tensor after = linear(layer, x);
    EXPECT_LT(relative(after, x.matmul(rounded(layer, GgmlType::Q4_K).t()) + layer.bias), 1e-13);
    EXPECT_GT(relative(after, before), 1e-2);
  }
}

TEST(ServedWeight, AFrozenWeightIsRoundedInItsOwnType) {
  const Tensor weight = at::randn({6, kIn});
  const auto blocks = std::get<GgufBlocks>(encode_served(weight, {.type = GgmlType::Q5_0}));
  std::vector<std::byte> wanted;
  encode({weight.const_data_ptr<float>(), static_cast<size_t>(weight.numel())}, GgmlType::Q5_0, wanted);
  EXPECT_EQ(std::memcmp(blocks.bytes.const_data_ptr(), wanted.data(), wanted.size()), 0);
  EXPECT_EQ(blocks.type, at::kFloat);
  const Tensor halves = std::get<Dense>(encode_served(weight, {.type = GgmlType::F16})).weight;
  EXPECT_TRUE(at::equal(halves, weight.to(at::kHalf).to(at::kFloat)));
}

}  // namespace
}  // namespace prentice
