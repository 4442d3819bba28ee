#include "adapter/lora.h"

#include <ATen/ops/allclose.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/rand.h>

#include <set>

#include "adapter/merge.h"
#include "adapter/tiny.h"
#include "adapter/trainable.h"

namespace prentice {
namespace {

std::vector<std::string> names_of(const NamedTensors& tensors) {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : tensors) names.push_back(name);
  return names;
}

TEST(Lora, TheAdapterAtStepZeroIsTheBase) {
  Model model = tiny_model();
  const Tensor base = tiny_logits(model);
  attach_lora(model, lora_section(), 1);
  EXPECT_TRUE(at::equal(tiny_logits(model), base));
}

TEST(Lora, MergedWeightsGiveTheSameLogits) {
  for (const bool rslora : {false, true}) {
    Model model = tiny_model();
    const Tensor base = tiny_logits(model);
    AdapterSection section = lora_section({"q_proj", "v_proj", "o_proj", "up_proj", "down_proj", "lm_head"});
    section.rslora = rslora;
    section.rank_pattern = {{"up_proj", 3}};
    attach_lora(model, section, 1);
    disturb(model);
    const Tensor with = tiny_logits(model);
    EXPECT_GT(relative(with, base), 1e-2);
    merge(model);
    EXPECT_FALSE(has_adapter(model));
    EXPECT_LT(relative(tiny_logits(model), with), 1e-12);
    EXPECT_TRUE(dense_weight(model.layers[0].qkv.parts[0]).is_alias_of(model.layers[0].qkv.joined));
  }
}

TEST(Lora, MergingKeepsTheWeightsTypeAndRoundsOnce) {
  Model model = tiny_model(at::kBFloat16);
  attach_lora(model, lora_section(), 1);
  disturb(model);
  const Linear& q = find_linear(model, "model.layers.1.self_attn.q_proj");
  const Tensor want =
      (dense_weight(q).to(at::kDouble) + q.lora->scale * q.lora->b.to(at::kDouble).matmul(q.lora->a.to(at::kDouble)));
  const Tensor merged = merged_weight(dense_weight(q), *q.lora);
  EXPECT_EQ(merged.scalar_type(), at::kBFloat16);
  const Tensor error = (merged.to(at::kDouble) - want).abs();
  EXPECT_EQ((error > want.abs() * 0x1p-8 + 1e-6).sum().item<int64_t>(), 0);  // half a unit in the last place
  const Tensor twice = dense_weight(q) + merged_weight(dense_weight(q) * 0, *q.lora);
  EXPECT_GT((twice.to(at::kDouble) - want).norm().item<double>(), 1.1 * error.norm().item<double>());
}

TEST(Lora, MergingAnAdapterOnOneEndOfATiedModelPartsTheEnds) {
  for (const char* end : {"lm_head", "embed_tokens"}) {
    Model model = tiny_model(at::kDouble, true);
    const Tensor base = tiny_logits(model);
    attach_lora(model, lora_section({end, "q_proj"}), 1);
    EXPECT_TRUE(at::equal(tiny_logits(model), base)) << end;
    disturb(model);
    const Tensor with = tiny_logits(model);
    EXPECT_GT(relative(with, base), 1e-2) << end;
    merge(model);
    EXPECT_LT(relative(tiny_logits(model), with), 1e-12) << end;
    EXPECT_FALSE(model.spec.tied_head) << end;
    EXPECT_FALSE(model.spec.config.at("tie_word_embeddings").as_bool()) << end;
  }
}

TEST(Lora, OffIsTheBaseAndGuardsMayBeNested) {
  Model model = tiny_model();
  const Tensor base = tiny_logits(model);
  attach_lora(model, lora_section(), 1);
  disturb(model);
  const Tensor with = tiny_logits(model);
  {
    const AdapterOff off(model);
    EXPECT_TRUE(at::equal(tiny_logits(model), base));
    {
      const AdapterOff again(model);
      EXPECT_TRUE(at::equal(tiny_logits(model), base));
    }
    EXPECT_TRUE(at::equal(tiny_logits(model), base));
  }
  EXPECT_TRUE(at::equal(tiny_logits(model), with));
}

TEST(Lora, TargetsAreNamesListsExpressionsOrAllLinear) {
  using Strings = std::vector<std::string>;
  const std::string l = "model.layers.";
  struct Row {
    Strings targets;
    std::vector<int64_t> layers;
    size_t count;
    std::string first;
  };
  const Row rows[] = {
      {{"all-linear"}, {}, 21, l + "0.self_attn.q_proj"},
      {{"all-linear"}, {1}, 7, l + "1.self_attn.q_proj"},
      {{"q_proj", "v_proj"}, {}, 6, l + "0.self_attn.q_proj"},
      {{"q_proj", "v_proj"}, {0, 2}, 4, l + "0.self_attn.q_proj"},
      {{"self_attn.o_proj"}, {}, 3, l + "0.self_attn.o_proj"},
      {{"lm_head"}, {}, 1, "lm_head"},
      {{l + "2.mlp.up_proj", "k_proj"}, {1}, 2, l + "1.self_attn.k_proj"},
      {{R"(.*\.[12]\.mlp\..*)"}, {}, 6, l + "1.mlp.gate_proj"},
      {{R"((?!.*lm_head).*(down|o)_proj)"}, {}, 6, l + "0.self_attn.o_proj"},
  };
  for (const Row& row : rows) {
    Model model = tiny_model();
    AdapterSection section = lora_section(row.targets);
    section.layers = row.layers;
    attach_lora(model, section, 1);
    const auto names = adapted(model);
    EXPECT_EQ(names.size(), row.count) << row.targets[0];
    EXPECT_EQ(names[0], row.first) << row.targets[0];
  }
}

TEST(Lora, RanksAndAlphasFollowPatternsAndRslora) {
  Model model = tiny_model();
  AdapterSection section = lora_section();
  section.rank_pattern = {{"q_proj", 2}, {R"(layers\.1\..*up_proj)", 9}};
  section.alpha_pattern = {{"v_proj", 5}};
  attach_lora(model, section, 1);
  const auto& q = *find_linear(model, "model.layers.0.self_attn.q_proj").lora;
  EXPECT_EQ(q.a.size(0), 2);
  EXPECT_EQ(q.scale, 16);
  EXPECT_EQ(find_linear(model, "model.layers.1.mlp.up_proj").lora->a.size(0), 9);
  EXPECT_EQ(find_linear(model, "model.layers.0.mlp.up_proj").lora->a.size(0), 4);
  EXPECT_EQ(find_linear(model, "model.layers.0.self_attn.v_proj").lora->scale, 1.25);

  Model stabilised = tiny_model();
  section.rslora = true;
  attach_lora(stabilised, section, 1);  // alpha is 8 by default, and the overridden rank counts
  EXPECT_EQ(find_linear(stabilised, "model.layers.0.self_attn.o_proj").lora->scale, 4);
  EXPECT_DOUBLE_EQ(find_linear(stabilised, "model.layers.0.self_attn.q_proj").lora->scale, 8 / std::sqrt(2.0));
  EXPECT_DOUBLE_EQ(find_linear(stabilised, "model.layers.0.self_attn.v_proj").lora->scale, 2.5);
}

TEST(Lora, StartingValuesDependOnSeedAndNameOnly) {
  Model all = tiny_model(), few = tiny_model(), other = tiny_model();
  attach_lora(all, lora_section(), 1);
  attach_lora(few, lora_section({"v_proj"}), 1);
  attach_lora(other, lora_section(), 2);
  const std::string v = "model.layers.2.self_attn.v_proj";
  EXPECT_TRUE(at::equal(find_linear(all, v).lora->a, find_linear(few, v).lora->a));
  EXPECT_EQ(find_linear(all, v).lora->module, find_linear(few, v).lora->module);
  EXPECT_FALSE(at::equal(find_linear(all, v).lora->a, find_linear(other, v).lora->a));
  EXPECT_FALSE(at::equal(find_linear(all, v).lora->a, find_linear(all, "model.layers.1.self_attn.v_proj").lora->a));
  std::set<int64_t> modules;
  visit_linears(all, [&](Linear& linear) {
    if (linear.lora) modules.insert(linear.lora->module);
  });
  EXPECT_EQ(modules.size(), 21u);
}

TEST(Lora, StartingValuesHaveTheirDistribution) {
  const auto drawn = [](const std::string& init) {
    Model model = tiny_model();
    AdapterSection section = lora_section({"q_proj"}, 500);
    section.init = init;
    attach_lora(model, section, 1);
    const auto& lora = *find_linear(model, "model.layers.0.self_attn.q_proj").lora;
    EXPECT_EQ(lora.b.norm().item<double>(), 0);
    return lora.a;
  };
  const Tensor uniform = drawn("default"), normal = drawn("gaussian");  // 8,000 numbers each
  EXPECT_LE(uniform.abs().max().item<double>(), 0.25);                  // 1 / sqrt(16)
  EXPECT_GT(uniform.abs().max().item<double>(), 0.249);
  EXPECT_NEAR(uniform.mean().item<double>(), 0, 0.005);
  EXPECT_NEAR(uniform.std().item<double>(), 0.25 / std::sqrt(3.0), 0.003);
  EXPECT_NEAR(normal.mean().item<double>() * 500, 0, 0.04);
  EXPECT_NEAR(normal.std().item<double>() * 500, 1, 0.03);  // PEFT: deviation 1 / R
  EXPECT_GT(normal.abs().max().item<double>() * 500, 3);
}

TEST(Lora, TrainableGivesPeftsNamesAndF32) {
  Model model = tiny_model(at::kBFloat16);
  attach_lora(model, lora_section({"v_proj"}), 1);
  const auto tensors = trainable(model, lora_section());
  ASSERT_EQ(tensors.size(), 6u);
  EXPECT_EQ(tensors[0].first, "model.layers.0.self_attn.v_proj.lora_A.weight");
  EXPECT_EQ(tensors[5].first, "model.layers.2.self_attn.v_proj.lora_B.weight");
  for (const auto& [name, tensor] : tensors) {
    EXPECT_EQ(tensor.scalar_type(), at::kFloat);
    EXPECT_TRUE(tensor.requires_grad() && tensor.is_leaf());
  }
  visit(model, [](const std::string& name, Tensor& tensor) { EXPECT_FALSE(tensor.requires_grad()) << name; });
}

TEST(FullTraining, EveryWeightIsALeafUnderItsOwnName) {
  for (const bool tied : {false, true}) {
    Model model = tiny_model(at::kBFloat16, tied);
    AdapterSection section;
    section.kind = AdapterKind::full;
    const auto tensors = trainable(model, section);
    std::vector<std::string> expected;
    for (const auto& shape : expected_tensors(model.spec)) expected.push_back(shape.name);
    EXPECT_EQ(names_of(tensors), expected);
    for (const auto& [name, tensor] : tensors) {
      EXPECT_EQ(tensor.scalar_type(), at::kFloat) << name;
      EXPECT_TRUE(tensor.requires_grad() && tensor.is_leaf()) << name;
    }
    if (tied) EXPECT_TRUE(model.head.weight.index() == 0 && dense_weight(model.head).is_same(model.embed));
    const auto again = trainable(model, section);
    for (size_t i = 0; i < tensors.size(); ++i) EXPECT_TRUE(again[i].second.is_same(tensors[i].second)) << i;
  }
}

TEST(FullTraining, GradientsReachEveryLeafAndMovesReachTheJoinedProduct) {
  Model model = tiny_model();
  AdapterSection section;
  section.kind = AdapterKind::full;
  const Tensor before = tiny_logits(model);
  const auto tensors = trainable(model, section);
  EXPECT_TRUE(at::equal(tiny_logits(model), before));
  const Batch batch = tiny_batch();
  mean_cross_entropy(logits(model, forward_hidden(model, batch, {})), batch).backward();
  const c10::NoGradGuard no_grad;
  for (auto& [name, tensor] : tensors) {
    ASSERT_TRUE(tensor.grad().defined()) << name;
    EXPECT_GT(tensor.grad().norm().item<double>(), 0) << name;
  }
  // Moving one part must move the product of all parts: the same as a model whose parts never shared storage.
  Model apart = tiny_model();
  for (Layer& layer : apart.layers) {
    for (Projection* projection : {&layer.qkv, &layer.gate_up}) {
      projection->joined = Tensor();
      for (Linear& part : projection->parts) part.weight = Dense{dense_weight(part).clone()};
    }
  }
  std::map<std::string, Tensor> grads;
  for (const auto& [name, tensor] : tensors) grads[name] = tensor.grad(), tensor.sub_(tensor.grad());
  visit(apart, [&](const std::string& name, Tensor& tensor) { tensor.sub_(grads.at(name)); });
  EXPECT_LT(relative(tiny_logits(model), tiny_logits(apart)), 1e-12);
  EXPECT_GT(relative(tiny_logits(model), before), 1e-4);
}

TEST(Lora, MistakesAreNamed) {
  const std::string ends =
      "adapters sit on embed_tokens, q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj, lm_head";
  struct Row {
    std::function<void(AdapterSection&)> change;
    std::string message;
  };
  const Row rows[] = {
      {[](auto& s) { s.targets = {"q_prj"}; },
       "2: adapter.targets: 'q_prj' matches no layer of this model | did you mean q_proj?"},
      {[](auto& s) {
         s.targets = {"q_proj", "dense_h_to_4h"};
       },
       "2: adapter.targets: 'dense_h_to_4h' matches no layer of this model | " + ends},
      {[](auto& s) { s.targets = {".*qkv.*"}; },
       "2: adapter.targets: '.*qkv.*' matches no layer of this model | " + ends},
      {[](auto& s) { s.targets = {"(q_proj"}; },
       "2: adapter.targets: regular expression '(q_proj', position 7: missing ')'"},
      {[](auto& s) { s.targets = {}; },
       "2: adapter.targets: expected at least one layer, got an empty list | all-linear adapts every layer"},
      {[](auto& s) {
         s.layers = {1, 3};
       },
       "2: adapter.layers: the model has layers 0 to 2, got 3"},
      {[](auto& s) {
         s.targets = {"q_prj", "v_proj"};
         s.layers = {5}, s.modules_to_save = {"nrm"};
       },
       "2: adapter.targets: 'q_prj' matches no layer of this model | did you mean q_proj?\n"
       "adapter.layers: the model has layers 0 to 2, got 5\n"
       "adapter.modules_to_save: 'nrm' names no module of this model | did you mean norm?"},
      {[](auto& s) {
         s.targets = {"q_proj", "lm_head"}, s.modules_to_save = {"lm_head"};
       },
       "2: adapter.modules_to_save: lm_head stands in adapter.targets too: a module has an adapter, or it trains whole "
       "| keep one of the two"},
      {[](auto& s) {
         s.targets = {"self_attn.q_proj", "v_proj"}, s.modules_to_save = {"q_proj"};
       },
       "2: adapter.targets: 'self_attn.q_proj' trains whole by adapter.modules_to_save, and so has no adapter | keep "
       "one "
       "of the two"},
      {[](auto& s) {
         s.rank_pattern = {{"k_projj", 3}};
       },
       "2: adapter.rank_pattern: 'k_projj' matches no layer of this model | did you mean k_proj?"},
      {[](auto& s) {
         s.alpha_pattern = {{"[", 3}};
       },
       "2: adapter.alpha_pattern: regular expression '(.*\\.)?([)$', position 11: missing ']'"},
      {[](auto& s) { s.modules_to_save = {"lm_haed"}; },
       "2: adapter.modules_to_save: 'lm_haed' names no module of this model | did you mean lm_head?"},
      {[](auto& s) { s.init = "pissa", s.kind = AdapterKind::dora; },
       "2: adapter.init: pissa takes its start out of the weight, whose norms kind: dora needs | keep one of the two"},
      {[](auto& s) { s.init = "pissa", s.rank = 17; },
       "2: adapter.rank: model.layers.0.self_attn.q_proj has 16 singular values, PiSSA wants 17 | a smaller rank, or "
       "adapter.rank_pattern for this layer"},
      {[](auto& s) { s.kind = AdapterKind::dora, s.targets = {"embed_tokens"}; },
       "2: adapter.targets: model.embed_tokens has no DoRA in this version | leave it out, or train it whole: "
       "adapter.modules_to_save=[embed_tokens]"},
      {[](auto& s) { s.kind = AdapterKind::dora, s.targets = {"lm_head"}, s.dropout = 0.1; },
       "2: adapter.dropout: not in this version on the head with kind: dora | leave lm_head out of adapter.targets, or "
       "set adapter.dropout=0"},
      {[](auto& s) { s.init = "/no/such/folder"; }, "2: /no/such/folder: no such adapter folder"},
  };
  for (const Row& row : rows) {
    Model model = tiny_model();
    AdapterSection section = lora_section();
    row.change(section);
    EXPECT_EQ(error_of([&] { attach_lora(model, section, 1); }), row.message);
  }
  Model model = tiny_model();
  attach_lora(model, lora_section(), 1);
  EXPECT_EQ(error_of([&] { attach_lora(model, lora_section(), 1); }),
            "2: the model has an adapter already | merge it first, or go on from it with adapter.init");
}

}  // namespace
}  // namespace prentice
