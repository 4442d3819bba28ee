// Layers whose weight is held in NF4 against the same layers with the values that it stands for.
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "nn/dora.h"
#include "nn/linear.h"

namespace prentice {
namespace {

constexpr int64_t kIn = 70, kTokens = 9;  // rows of the weight end within blocks

double relative(const Tensor& a, const Tensor& b) {
  return at::linalg_vector_norm(a.detach() - b.detach()).item<double>() /
         at::linalg_vector_norm(b.detach()).item<double>();
}

Batch one_sequence() {
  return {.positions = at::arange(kTokens),
          .sequence_id = at::zeros({kTokens}, at::kInt),
          .sample_key = at::tensor({int64_t{4}})};
}

struct Kind {
  const char* what;
  bool adapter, dora;
  double dropout;
  bool bias;
};

Linear quantized(int64_t out, const Kind& kind) {
  Nf4 weight = make_nf4(out, kIn, true, at::TensorOptions(at::kDouble));
  encode_nf4(at::randn({out, kIn}), weight);
  Linear made{.weight = weight, .in_features = kIn, .out_features = out};
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
  const Batch batch = one_sequence();
  const ForwardOptions training{.training = true, .seed = 5, .step = 2};
  for (const Kind& kind : {Kind{"plain", false, false, 0, false}, Kind{"bias", false, false, 0, true},
                           Kind{"lora", true, false, 0, true}, Kind{"lora, dropout", true, false, 0.4, false},
                           Kind{"dora", true, true, 0, true}, Kind{"dora, dropout", true, true, 0.4, true}}) {
    const Projection held{.parts = {quantized(5, kind), quantized(11, kind), quantized(4, kind)}};
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

}  // namespace
}  // namespace prentice
