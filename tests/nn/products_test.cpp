// linear() and project() against the same products written out, gradients included.
#include "nn/products.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "kernels/dropout.h"
#include "nn/linear.h"
#include "nn/offloaded.h"
#include "nn/recompute.h"

namespace prentice {
namespace {

constexpr int64_t kIn = 12, kTokens = 9;

Tensor leaf(at::IntArrayRef shape) { return at::randn(shape, at::kDouble).set_requires_grad(true); }

Linear make_linear(int64_t out, bool bias, std::optional<double> dropout, int64_t rank = 3) {
  Linear made{.weight = Dense{at::randn({out, kIn}, at::kDouble)}, .in_features = kIn, .out_features = out};
  if (bias) made.bias = at::randn({out}, at::kDouble);
  if (dropout) {
    made.lora = Lora{.a = leaf({rank, kIn}),
                     .b = leaf({out, rank}),
                     .scale = 0.7 + static_cast<double>(out),
                     .dropout = *dropout,
                     .module = out};
  }
  return made;
}

const ForwardOptions kTraining{.training = true, .seed = 5, .step = 2};

// x W^T + b + scale dropout(x) A^T B^T from plain differentiable operations
Tensor written_out(const Linear& layer, const Tensor& x, const Batch& batch, const ForwardOptions& options) {
  Tensor y = at::matmul(x, dense_weight(layer).t());
  if (layer.bias.defined()) y = y + layer.bias;
  if (!layer.lora || !layer.lora->enabled) return y;
  const Lora& lora = *layer.lora;
  Tensor input = x;
  if (options.training && lora.dropout > 0) {
    input = x * apply_dropout(at::ones_like(x), {.seed = options.seed,
                                                 .step = options.step,
                                                 .module = lora.module,
                                                 .rate = lora.dropout,
                                                 .sample_key = batch.sample_key,
                                                 .sequence_id = batch.sequence_id,
                                                 .positions = batch.positions});
  }
  return y + lora.scale * at::matmul(at::matmul(input, lora.a.t()), lora.b.t());
}

struct ProductCase {
  const char* what;
  std::vector<Linear> parts;
  bool joined = false, weights_train = false, x_trains = true;
};

std::vector<ProductCase> cases() {
  std::vector<ProductCase> all;
  all.push_back({"one plain part", {make_linear(5, false, {})}});
  all.push_back({"joined, plain", {make_linear(5, false, {}), make_linear(4, false, {})}, true});
  all.push_back({"joined, biases", {make_linear(5, true, {}), make_linear(4, true, {})}, true});
  all.push_back({"joined, adapters share A", {make_linear(5, true, 0.0), make_linear(4, true, 0.0, 2)}, true});
  all.push_back({"joined, one adapted", {make_linear(5, false, {}), make_linear(4, false, 0.0)}, true});
  all.push_back({"joined, dropout", {make_linear(5, false, 0.4), make_linear(4, false, 0.4)}, true});
  all.push_back(
      {"dropout in one of three", {make_linear(5, true, 0.0), make_linear(4, false, 0.4), make_linear(6, false, {})}});
  all.push_back({"all weights train", {make_linear(5, true, {}), make_linear(4, true, {})}, true, true});
  all.push_back({"weights and adapters train", {make_linear(5, true, 0.2)}, false, true});
  all.push_back({"the input is frozen", {make_linear(5, false, 0.0), make_linear(4, false, 0.3)}, true, false, false});
  return all;
}

TEST(Products, EqualTheWrittenOutOnesWithGradients) {
  const Batch batch = one_sequence(kTokens);
  for (auto& c : cases()) {
    Projection projection{.parts = c.parts};
    if (c.joined) join(projection);
    const Tensor x = at::randn({kTokens, kIn}, at::kDouble).set_requires_grad(c.x_trains);
    std::vector<Tensor> inputs;
    if (c.x_trains) inputs.push_back(x);
    for (auto& part : projection.parts) {
      if (c.weights_train) inputs.push_back(std::get<Dense>(part.weight).weight.set_requires_grad(true));
      if (c.weights_train && part.bias.defined()) inputs.push_back(part.bias.set_requires_grad(true));
      if (part.lora) inputs.insert(inputs.end(), {part.lora->a, part.lora->b});
    }
    const auto found = project(projection, x, batch, kTraining);
    std::vector<Tensor> wanted, grads;
    for (size_t i = 0; i < found.size(); ++i) {
      wanted.push_back(written_out(projection.parts[i], x, batch, kTraining));
      EXPECT_LT(relative(found[i], wanted[i]), 1e-13) << c.what << ", part " << i;
      grads.push_back(at::randn(found[i].sizes(), at::kDouble));
    }
    const auto da = torch::autograd::grad({at::cat(found, 1)}, inputs, {at::cat(grads, 1)});
    const auto db = torch::autograd::grad({at::cat(wanted, 1)}, inputs, {at::cat(grads, 1)});
    for (size_t i = 0; i < inputs.size(); ++i) EXPECT_LT(relative(da[i], db[i]), 1e-13) << c.what << ", input " << i;
  }
}

// What follows the products may lay their gradients into one matrix in another order, or with something between them.
TEST(Products, GradientsThatShareAMatrixAreTheirsWhereverTheyLie) {
  Projection projection{.parts = {make_linear(5, false, {}), make_linear(4, false, {})}};
  join(projection);
  const Tensor x = at::randn({kTokens, kIn}, at::kDouble).set_requires_grad(true), gap = leaf({kTokens, 3});
  const auto found = project(projection, x, one_sequence(kTokens), kTraining);
  const auto& [first, second] = std::pair(found[0], found[1]);
  for (const auto& laid : {std::vector{second, first}, {first, gap, second}, {gap, second, first}}) {
    const Tensor grad = at::randn({kTokens, at::cat(laid, 1).size(1)}, at::kDouble);
    Tensor wanted = at::zeros_like(x);
    int64_t column = 0;
    for (const auto& part : laid) {
      const Tensor own = grad.narrow(1, column, part.size(1));
      if (part.is_same(first)) wanted = wanted + at::matmul(own, dense_weight(projection.parts[0]));
      if (part.is_same(second)) wanted = wanted + at::matmul(own, dense_weight(projection.parts[1]));
      column += part.size(1);
    }
    const auto dx = torch::autograd::grad({at::cat(laid, 1)}, {x}, {grad}, /*retain_graph=*/true);
    EXPECT_LT(relative(dx[0], wanted), 1e-13);
  }
}

TEST(Products, ASwitchedOffAdapterIsNotThere) {
  Linear layer = make_linear(5, true, 0.5);
  layer.lora->enabled = false;
  const Tensor x = at::randn({kTokens, kIn}, at::kDouble);
  EXPECT_LT(
      relative(linear(layer, x, one_sequence(kTokens), kTraining), at::matmul(x, dense_weight(layer).t()) + layer.bias),
      1e-14);
}

TEST(Products, DropoutIsForTrainingOnly) {
  const Linear layer = make_linear(5, false, 0.5);
  const Tensor x = at::randn({kTokens, kIn}, at::kDouble);
  EXPECT_LT(relative(linear(layer, x, one_sequence(kTokens), {}), linear(layer, x)), 1e-15);
  EXPECT_GT(relative(linear(layer, x, one_sequence(kTokens), kTraining), linear(layer, x)), 1e-3);
}

TEST(Products, AReplacedWeightOutdatesTheJoinedOne) {
  Projection projection{.parts = {make_linear(5, false, {}), make_linear(4, false, {})}};
  join(projection);
  std::get<Dense>(projection.parts[1].weight).weight = at::randn({4, kIn}, at::kDouble);
  const Tensor x = at::randn({kTokens, kIn}, at::kDouble);
  EXPECT_LT(relative(project(projection, x)[1], at::matmul(x, dense_weight(projection.parts[1]).t())), 1e-14);
}

TEST(Products, Bf16TakesF32AdaptersAndGivesF32Gradients) {
  Linear layer = make_linear(5, false, 0.0);
  std::get<Dense>(layer.weight).weight = dense_weight(layer).to(at::kBFloat16);
  layer.lora->a = at::randn({3, kIn}).set_requires_grad(true);
  layer.lora->b = at::randn({5, 3}).set_requires_grad(true);
  const Tensor y = linear(layer, at::randn({kTokens, kIn}).to(at::kBFloat16));
  EXPECT_EQ(y.scalar_type(), at::kBFloat16);
  const auto grads = torch::autograd::grad({y.sum()}, {layer.lora->a, layer.lora->b});
  EXPECT_EQ(grads[0].scalar_type(), at::kFloat);
  EXPECT_EQ(grads[1].scalar_type(), at::kFloat);
}

TEST(Recompute, GivesTheSameBitsThroughTwoBlocks) {
  const Linear first = make_linear(kIn, true, 0.3), second = make_linear(kIn, true, 0.3, 4);
  const Batch batch = one_sequence(kTokens);
  const Tensor x = leaf({kTokens, kIn});
  const auto block = [&](const Linear& layer) {
    return [&layer, &batch](const Tensor& in) { return at::relu(linear(layer, in, batch, kTraining)); };
  };
  const auto parameters = [](const Linear& layer) { return std::vector<Tensor>{layer.lora->a, layer.lora->b}; };
  const std::vector<Tensor> inputs = {x, first.lora->a, first.lora->b, second.lora->a, second.lora->b};
  const Tensor plain = block(second)(block(first)(x)).square().sum();
  const Tensor again =
      recompute(block(second), recompute(block(first), x, parameters(first)), parameters(second)).square().sum();
  const auto a = torch::autograd::grad({plain}, inputs), b = torch::autograd::grad({again}, inputs);
  for (size_t i = 0; i < inputs.size(); ++i) EXPECT_TRUE(at::equal(a[i], b[i])) << i;
}

// Each input is on its way while the block behind it is computed: with four, two of them are not the first.
TEST(Recompute, GivesTheSameBitsWhereInputsWaitOnTheHost) {
  std::vector<Linear> layers;
  for (int64_t i = 0; i < 4; ++i) layers.push_back(make_linear(kIn, true, {}, 3));
  const Tensor x = leaf({kTokens, kIn});
  const auto through = [&](const std::shared_ptr<OffloadedInputs>& inputs) {
    Tensor y = x;
    for (const Linear& layer : layers) {
      const auto block = [&layer](const Tensor& in) { return in + at::relu(linear(layer, in)); };
      y = inputs ? recompute(block, y, {}, inputs) : block(y);
    }
    return torch::autograd::grad({y.square().sum()}, {x})[0];
  };
  EXPECT_TRUE(at::equal(through(std::make_shared<OffloadedInputs>(x.device())), through(nullptr)));
}

}  // namespace
}  // namespace prentice
