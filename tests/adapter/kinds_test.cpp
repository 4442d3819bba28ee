// DoRA, PiSSA, adapters on the embedding, modules that train whole: what tests of plain LoRA do not cover.
#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/mm.h>

#include "adapter/merge.h"
#include "adapter/peft.h"
#include "adapter/tiny.h"
#include "adapter/trainable.h"
#include "io/scratch.h"
#include "kernels/dropout.h"
#include "nn/dora.h"

namespace prentice {
namespace {

AdapterSection dora_section(std::vector<std::string> targets = {"all-linear"}) {
  AdapterSection section = lora_section(std::move(targets));
  section.kind = AdapterKind::dora;
  return section;
}

// W + scale B A of a layer, and the gain of its rows, from the matrices themselves.
std::pair<Tensor, Tensor> by_hand(const Linear& linear) {
  const Lora& lora = *linear.lora;
  const Tensor whole = dense_weight(linear) + lora.scale * at::mm(lora.b, lora.a);
  return {whole, lora.magnitude / at::linalg_vector_norm(whole, 2, at::IntArrayRef{1}, false)};
}

TEST(Dora, TheStartIsTheBaseAndMergedWeightsGiveTheSameLogits) {
  for (const auto& targets : {std::vector<std::string>{"all-linear"}, {"lm_head", "q_proj"}}) {
    Model model = tiny_model();
    const Tensor base = tiny_logits(model);
    attach_lora(model, dora_section(targets), 1);
    EXPECT_LT(relative(tiny_logits(model), base), 1e-12);
    disturb(model);
    const Tensor with = tiny_logits(model);
    EXPECT_GT(relative(with, base), 1e-2);
    {
      const AdapterOff off(model);
      EXPECT_TRUE(at::equal(tiny_logits(model), base));
    }
    merge(model);
    EXPECT_LT(relative(tiny_logits(model), with), 1e-12);
  }
}

TEST(Dora, TheGainComesFromProductsOfTheFactorsAndReachesTheMagnitudeOnly) {
  Model model = tiny_model();
  attach_lora(model, dora_section({"down_proj"}), 1);
  disturb(model);
  const auto tensors = trainable(model, dora_section());
  const Linear& down = find_linear(model, "model.layers.1.mlp.down_proj");
  const Tensor gain = dora_gain(down);
  EXPECT_LT(relative(gain.detach(), by_hand(down).second.detach()), 1e-12);
  gain.sum().backward();
  EXPECT_TRUE(down.lora->magnitude.grad().defined());
  EXPECT_FALSE(down.lora->a.grad().defined() || down.lora->b.grad().defined());
}

// x W^T + (g - 1) d W^T + g scale d A^T B^T: what the adapter adds reads the dropped input, the base the whole one.
TEST(Dora, WithDropoutOnlyWhatTheAdapterAddsReadsTheDroppedInput) {
  Model model = tiny_model();
  AdapterSection section = dora_section({"down_proj"});
  section.dropout = 0.5;
  attach_lora(model, section, 1);
  disturb(model);
  const auto tensors = trainable(model, section);
  const Linear& down = find_linear(model, "model.layers.1.mlp.down_proj");
  const Lora& lora = *down.lora;
  const Batch batch = tiny_batch();
  at::manual_seed(5);
  const Tensor x = at::rand({batch.tokens.size(0), down.in_features}, at::kDouble).requires_grad_();
  const Tensor y = linear(down, x, batch, {.training = true, .seed = 7, .step = 2});
  const DropoutKey key{7, 2, lora.module, 0.5, batch.sample_key, batch.sequence_id, batch.positions};
  const Tensor mask = apply_dropout(at::ones_like(x.detach()), key);
  EXPECT_GT((mask == 0).sum().item<int64_t>(), 50);
  const Tensor gain = by_hand(down).second.detach() / lora.magnitude.detach() * lora.magnitude;
  const Tensor dropped = x * mask;
  const Tensor want = at::mm(x, dense_weight(down).t()) + at::mm(dropped, dense_weight(down).t()) * (gain - 1) +
                      at::mm(at::mm(dropped, lora.a.t()), lora.b.t()) * (gain * lora.scale);
  EXPECT_LT(relative(y.detach(), want.detach()), 1e-12);
  const Tensor upstream = at::rand(y.sizes(), y.options());
  std::vector<std::pair<Tensor, Tensor>> leaves;
  for (const Tensor& leaf : {x, lora.a, lora.b, lora.magnitude}) leaves.emplace_back(leaf, Tensor());
  (y * upstream).sum().backward();
  for (auto& [leaf, grad] : leaves) grad = leaf.grad().clone(), leaf.mutable_grad().zero_();
  (want * upstream).sum().backward();
  for (const auto& [leaf, grad] : leaves) EXPECT_LT(relative(grad, leaf.grad()), 1e-12) << leaf.sizes();
}

TEST(Pissa, TheStartIsTheBaseAndGoesOutAtTwiceTheRank) {
  for (const bool rslora : {false, true}) {
    Model model = tiny_model(), again = tiny_model();
    const Tensor base = tiny_logits(model);
    const Tensor before = dense_weight(find_linear(model, "model.layers.0.self_attn.q_proj")).clone();
    AdapterSection section = lora_section();
    section.init = "pissa", section.rslora = rslora;
    attach_lora(model, section, 1);
    EXPECT_LT(relative(tiny_logits(model), base), 1e-12);
    const Linear& q = find_linear(model, "model.layers.0.self_attn.q_proj");
    EXPECT_GT(relative(dense_weight(q), before), 0.1);
    EXPECT_TRUE(dense_weight(q).is_alias_of(model.layers[0].qkv.joined));
    disturb(model);
    const Tensor with = tiny_logits(model);
    {
      const AdapterOff off(model);  // the model as it came, not what is left of it
      EXPECT_LT(relative(tiny_logits(model), base), 1e-12);
    }
    const Scratch scratch;
    save_peft(model, scratch.path(), "base", "f32");
    EXPECT_EQ(read_peft_config(scratch.path()).rank, 8);
    load_peft(again, scratch.path());
    EXPECT_LT(relative(tiny_logits(again), with), 1e-6);
    merge(model);
    EXPECT_LT(relative(tiny_logits(model), with), 1e-12);
  }
}

TEST(SavedModules, TrainInTheirPlaceAndTheBaseIsKept) {
  for (const bool tied : {false, true}) {
    for (const auto& words : {std::vector<std::string>{"embed_tokens", "lm_head"},
                              {"lm_head"},
                              {"embed_tokens"},
                              {"input_layernorm", "k_proj"}}) {
      Model model = tiny_model(at::kDouble, tied);
      const Tensor base = tiny_logits(model);
      AdapterSection section = lora_section({"q_proj"});
      section.modules_to_save = words;
      attach_lora(model, section, 1);
      EXPECT_LT(relative(tiny_logits(model), base), 1e-12) << words[0];  // k_proj leaves its joined product
      const auto tensors = trainable(model, section);
      const bool one_weight = tied && words.size() == 2 && words[1] == "lm_head";
      EXPECT_EQ(tensors.size(), 6 + (words[0] == "input_layernorm" ? 6 : one_weight ? 1 : words.size())) << words[0];
      EXPECT_EQ(model.spec.tied_head, tied && (one_weight || words[0] == "input_layernorm"));
      disturb(model);
      const Tensor with = tiny_logits(model);
      EXPECT_GT(relative(with, base), 1e-2);
      {
        const AdapterOff off(model);
        EXPECT_TRUE(at::equal(tiny_logits(model), base)) << words[0];
        const AdapterOff again(model);
        EXPECT_TRUE(at::equal(tiny_logits(model), base)) << words[0];
      }
      EXPECT_TRUE(at::equal(tiny_logits(model), with)) << words[0];
      merge(model);
      EXPECT_FALSE(has_adapter(model));
      EXPECT_LT(relative(tiny_logits(model), with), 1e-12) << words[0];
    }
  }
}

TEST(SavedModules, AllLinearLeavesThemOut) {
  Model model = tiny_model();
  AdapterSection section = lora_section();
  section.modules_to_save = {"k_proj"};
  attach_lora(model, section, 1);
  EXPECT_EQ(adapted(model).size(), 18u);
}

// The parts behind attention, and whole blocks, computed again, from inputs that waited on the host or not: the masks
// are those of the first time.
TEST(Recomputation, OfAnyKindOfAdapterOnAnyBaseGivesTheSameBits) {
  struct Case {
    AdapterKind kind;
    double dropout;
    bool quantized;
    std::vector<std::string> targets;
  };
  for (const auto& [kind, dropout, quantized, targets] :
       {Case{AdapterKind::lora, 0.3, false, {"all-linear"}}, Case{AdapterKind::lora, 0.3, true, {"all-linear"}},
        Case{AdapterKind::dora, 0.3, false, {"all-linear"}}, Case{AdapterKind::dora, 0.3, true, {"all-linear"}},
        Case{AdapterKind::dora, 0, false, {"all-linear"}}, Case{AdapterKind::lora, 0.3, false, {"up_proj"}},
        Case{AdapterKind::lora, 0.3, false, {"q_proj"}}}) {
    const Quantize held = quantized ? Quantize::nf4 : Quantize::none;
    Model model = random_model(tiny_spec(), 5, {.dtype = at::kFloat, .device = at::kCPU, .quantize = held});
    AdapterSection section = lora_section(targets);
    section.kind = kind, section.dropout = dropout;
    attach_lora(model, section, 1);
    disturb(model);
    const NamedTensors trained = trainable(model, section);
    const Batch batch = tiny_batch();
    std::vector<Tensor> plain;
    for (const auto& [again, offload] : {std::pair(Recomputed::nothing, false),
                                         {Recomputed::mlp, false},
                                         {Recomputed::block, false},
                                         {Recomputed::mlp, true},
                                         {Recomputed::block, true}}) {
      const ForwardOptions options{.training = true, .recomputed = again, .offload = offload, .seed = 7, .step = 3};
      mean_cross_entropy(logits(model, forward_hidden(model, batch, options)), batch).backward();
      for (size_t i = 0; i < trained.size(); ++i) {
        Tensor& gradient = trained[i].second.mutable_grad();
        ASSERT_TRUE(gradient.defined()) << trained[i].first;
        if (again == Recomputed::nothing) plain.push_back(gradient.clone());
        EXPECT_TRUE(at::equal(gradient, plain[i])) << trained[i].first;
        gradient.zero_();
      }
    }
  }
}

}  // namespace
}  // namespace prentice
