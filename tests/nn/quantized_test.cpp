// Layers whose weight is held in NF4 or in GGUF blocks against the same layers with the values that it stands for.
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/randn.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <cstring>

#include "nn/dora.h"
#include "nn/linear.h"
#include "nn/products.h"
#include "quant/encode.h"

namespace prentice {
namespace {

constexpr int64_t kIn = 96, kTokens = 9;  // rows of the weight end within blocks of NF4

struct Kind {
  const char* what;
  bool adapter, dora;
  double dropout;
  bool bias;
};

Nf4 in_nf4(int64_t out) {
  Nf4 weight = make_nf4(out, kIn, true, at::TensorOptions(at::kDouble));
  encode_nf4(at::randn({out, kIn}), weight);
  return weight;
}

GgufBlocks in_blocks(int64_t out, at::ScalarType type = at::kDouble) {
  GgufBlocks weight = make_gguf_blocks(out, kIn, GgmlType::Q5_1, at::TensorOptions(type));
  std::vector<std::byte> bytes;
  const Tensor values = at::randn({out, kIn});
  encode({values.const_data_ptr<float>(), static_cast<size_t>(values.numel())}, weight.block, bytes);
  std::memcpy(weight.bytes.mutable_data_ptr(), bytes.data(), bytes.size());
  return weight;
}

Linear quantized(int64_t out, const Kind& kind, bool blocks = false) {
  Linear made{.in_features = kIn, .out_features = out};
  if (blocks) {
    made.weight = in_blocks(out);
  } else {
    made.weight = in_nf4(out);
  }
  if (kind.bias) made.bias = at::randn({out}, at::kDouble);
  if (!kind.adapter) return made;
  made.lora = Lora{.a = at::randn({3, kIn}, at::kDouble).set_requires_grad(true),
                   .b = at::randn({out, 3}, at::kDouble).set_requires_grad(true),
                   .scale = 0.7,
                   .dropout = kind.dropout,
                   .module = out};
  if (!kind.dora) return made;
  made.lora->row_squares = row_squares(weight_values(made));
  made.lora->magnitude = at::randn({out}, at::kDouble).abs().set_requires_grad(true);
  return made;
}

Projection with_values(Projection projection) {
  for (Linear& part : projection.parts) part.weight = Dense{weight_values(part).clone()};
  return projection;
}

std::vector<Tensor> leaves(const Projection& projection, const Tensor& x) {
  std::vector<Tensor> all = {x};
  for (const Linear& part : projection.parts) {
    if (part.lora) visit_trained(*part.lora, [&](const char*, const Tensor& tensor) { all.push_back(tensor); });
  }
  return all;
}

TEST(QuantizedLinear, ProductsAndGradientsAreThoseOfItsValues) {
  const Batch batch = one_sequence(kTokens);
  const ForwardOptions training{.training = true, .seed = 5, .step = 2};
  const Kind kinds[] = {{"plain", false, false, 0, false}, {"bias", false, false, 0, true},
                        {"lora", true, false, 0, true},    {"lora, dropout", true, false, 0.4, false},
                        {"dora", true, true, 0, true},     {"dora, dropout", true, true, 0.4, true}};
  for (size_t i = 0; i < 2 * std::size(kinds); ++i) {
    const Kind& kind = kinds[i / 2];
    const bool blocks = i % 2 == 1;  // of three parts one in NF4: each is by itself
    const Projection held{.parts = {quantized(5, kind, blocks), quantized(11, kind), quantized(4, kind, blocks)}};
    const Projection dense = with_values(held);
    const Tensor x = at::randn({kTokens, kIn}, at::kDouble).set_requires_grad(true);
    const auto found = project(held, x, batch, training), wanted = project(dense, x, batch, training);
    std::vector<Tensor> grads;
    for (size_t i = 0; i < found.size(); ++i) {
      EXPECT_LT(relative(found[i], wanted[i]), 1e-13) << kind.what << ", part " << i;
      grads.push_back(at::randn(found[i].sizes(), at::kDouble));
    }
    const auto inputs = leaves(held, x);
    const auto da = torch::autograd::grad(found, inputs, grads), db = torch::autograd::grad(wanted, inputs, grads);
    for (size_t i = 0; i < inputs.size(); ++i) EXPECT_LT(relative(da[i], db[i]), 1e-13) << kind.what << ", leaf " << i;
  }
}

TEST(QuantizedLinear, ASwitchedOffAdapterLeavesTheQuantizedBase) {
  Linear layer = quantized(6, {"lora", true, false, 0, true});
  layer.lora->enabled = false;
  const Tensor x = at::randn({kTokens, kIn}, at::kDouble);
  EXPECT_LT(relative(linear(layer, x), x.matmul(weight_values(layer).t()) + layer.bias), 1e-14);
}

TEST(QuantizedLinear, InBf16TheWeightIsRoundedOnceAndAdaptersStayF32) {
  Nf4 weight = make_nf4(8, kIn, false, at::TensorOptions(at::kBFloat16));
  encode_nf4(at::randn({8, kIn}), weight);
  Tensor values = at::empty({8, kIn});
  decode_nf4(weight, values);
  const Linear layer{.weight = weight, .in_features = kIn, .out_features = 8};
  EXPECT_TRUE(at::equal(weight_values(layer), values.to(at::kBFloat16)));
  EXPECT_EQ(weight_options(layer).dtype(), at::kBFloat16);
  EXPECT_EQ(linear(layer, at::randn({kTokens, kIn}).to(at::kBFloat16)).scalar_type(), at::kBFloat16);
}

// d (sum of c * y) / dx by differences, of a layer frozen in blocks with an adapter on it.
TEST(QuantizedLinear, TheGradientThroughBlocksIsThatOfDifferences) {
  const Linear layer = quantized(7, {"lora", true, false, 0, true}, true);
  const Tensor x = at::randn({3, kIn}, at::kDouble).set_requires_grad(true), c = at::randn({3, 7}, at::kDouble);
  const Tensor found = torch::autograd::grad({(linear(layer, x) * c).sum()}, {x})[0];
  constexpr double kStep = 1e-5;
  const c10::NoGradGuard no_grad;
  Tensor at_x = x.detach().clone();
  auto* values = at_x.mutable_data_ptr<double>();
  for (int64_t i = 0; i < at_x.numel(); i += 7) {
    const double kept = values[i];
    values[i] = kept + kStep;
    const double above = (linear(layer, at_x) * c).sum().item<double>();
    values[i] = kept - kStep;
    const double below = (linear(layer, at_x) * c).sum().item<double>();
    values[i] = kept;
    EXPECT_NEAR(found.view({-1})[i].item<double>(), (above - below) / (2 * kStep), 1e-6);
  }
}

// One row goes straight from the blocks, many by the dequantized weight.
TEST(QuantizedLinear, FewRowsGiveWhatManyGive) {
  const Linear layer{.weight = in_blocks(33, at::kFloat), .in_features = kIn, .out_features = 33};
  const Tensor x = at::randn({40, kIn}), many = linear(layer, x);
  for (int64_t row = 0; row < 40; row += 13) {
    EXPECT_LT(relative(linear(layer, x.narrow(0, row, 1)), many.narrow(0, row, 1)), 1e-6);
  }
}

}  // namespace
}  // namespace prentice
