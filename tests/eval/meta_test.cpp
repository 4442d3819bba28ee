// A whole step's forward and backward pass on `meta` tensors: shapes without memory.
#include <ATen/ops/empty.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include "kernels/meta_forms.h"
#include "model/golden.h"
#include "model/make.h"
#include "objective/cross_entropy.h"
#include "objective/token_log_probs.h"

namespace prentice {
namespace {

constexpr int64_t kRank = 3;

Tensor leaf(at::IntArrayRef shape, at::ScalarType type) {
  return at::empty(shape, at::TensorOptions(type).device(at::kMeta)).set_requires_grad(true);
}

void adapt(Linear& linear, double dropout) {
  linear.lora = Lora{.a = leaf({kRank, linear.in_features}, at::kFloat),
                     .b = leaf({linear.out_features, kRank}, at::kFloat),
                     .dropout = dropout};
}

std::vector<Linear*> linears(Model& model) {
  std::vector<Linear*> all = {&model.head};
  for (Layer& layer : model.layers) {
    for (Linear& part : layer.qkv.parts) all.push_back(&part);
    for (Linear& part : layer.gate_up.parts) all.push_back(&part);
    all.push_back(&layer.o), all.push_back(&layer.down);
  }
  return all;
}

// Two sequences, every position but the last of each labelled.
Batch batch_on_meta() {
  Batch batch = flat_batch({{1, 2, 3, 4, 5, 6, 7}, {3, 2, 1}});
  batch.target_rows = at::tensor(std::vector<int64_t>{0, 1, 2, 3, 4, 5, 7, 8});
  batch.weights = at::ones({10}, at::kFloat);
  return to_device(batch, at::kMeta);
}

struct MetaCase {
  at::ScalarType type;
  Recomputed recomputed;
  double dropout;
};

TEST(Meta, AStepOfATinyModelRunsWithoutMemory) {
  register_meta_forms();
  for (const char* name : {"llama_tied_linear", "llama_biased_llama3", "mistral_window", "qwen2_window"}) {
    for (const auto& [type, recomputed, dropout] :
         {MetaCase{at::kFloat, Recomputed::nothing, 0}, MetaCase{at::kFloat, Recomputed::block, 0.1},
          MetaCase{at::kFloat, Recomputed::mlp, 0.1}, MetaCase{at::kBFloat16, Recomputed::nothing, 0.1}}) {
      SCOPED_TRACE(name);
      const auto spec = read_spec(std::filesystem::path("tests/golden/model") / name);
      Model model = make_model(spec, {.dtype = type, .device = at::kMeta});
      for (Linear* linear : linears(model)) adapt(*linear, dropout);
      const Batch batch = batch_on_meta();
      const ForwardOptions options{.training = true, .recomputed = recomputed};
      const Tensor hidden = forward_hidden(model, batch, options);
      EXPECT_TRUE(hidden.is_meta());
      EXPECT_EQ(hidden.sizes(), at::IntArrayRef({10, spec.hidden}));
      EXPECT_EQ(hidden.scalar_type(), type);
      const Tensor loss = cross_entropy_share(hidden, model.head, 0, batch, {.tokens = 8}, options);
      EXPECT_EQ(loss.dim(), 0);
      EXPECT_EQ(token_log_probs(hidden, model.head, 0, batch, options).sizes(), batch.target_rows.sizes());
      loss.backward();
      for (const Linear* linear : linears(model)) {
        ASSERT_TRUE(linear->lora->a.grad().defined()) << linear->name;
        EXPECT_EQ(linear->lora->a.grad().sizes(), linear->lora->a.sizes()) << linear->name;
        EXPECT_EQ(linear->lora->b.grad().sizes(), linear->lora->b.sizes()) << linear->name;
      }
    }
  }
}

TEST(Meta, EveryWeightOfAFullTuningGetsAGradient) {
  register_meta_forms();
  const auto spec = read_spec(std::filesystem::path("tests/golden/model/llama_tied_linear"));
  Model model = make_model(spec, {.dtype = at::kFloat, .device = at::kMeta});
  std::vector<Tensor> weights = {model.embed, model.final_norm.weight};
  for (Linear* linear : linears(model)) weights.push_back(dense_weight(*linear));
  for (Layer& layer : model.layers) weights.push_back(layer.input_norm.weight);
  for (Tensor& weight : weights) weight.set_requires_grad(true);
  const Batch batch = batch_on_meta();
  cross_entropy_share(forward_hidden(model, batch, {}), model.head, 0, batch, {.tokens = 8}).backward();
  for (const Tensor& weight : weights) {
    ASSERT_TRUE(weight.grad().defined());
    EXPECT_EQ(weight.grad().sizes(), weight.sizes());
  }
}

}  // namespace
}  // namespace prentice
