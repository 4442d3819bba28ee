// Training against a file's rounding, from the types of a real model's tensors to the file: what was trained is what
// the file holds, byte by byte and logit by logit.
#include "adapter/qat.h"

#include <ATen/ops/allclose.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/nonzero.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "adapter/lora.h"
#include "adapter/merge.h"
#include "adapter/trainable.h"
#include "artifact/student.h"
#include "export/gguf_model.h"
#include "io/scratch.h"
#include "model/gguf_load.h"
#include "model/golden.h"
#include "objective/cross_entropy.h"
#include "train/optimizer.h"

namespace prentice {
namespace {

namespace fs = std::filesystem;

fs::path shared_model() {
  const char* data = std::getenv("PRENTICE_TEST_DATA");
  return fs::path(data ? data : "../shared/data") / "models/stories260K-hf";
}

Batch batch() {
  Batch made = flat_batch({{1, 403, 407, 261, 378, 12, 9, 30}, {1, 5, 6, 39, 44}, {1, 22, 9, 9, 31, 77}});
  made.target_rows = at::nonzero(made.labels.ge(0)).squeeze(1);
  made.weights = at::ones(made.labels.sizes());
  return made;
}

Tensor logits_of(const Model& model) {
  const c10::NoGradGuard no_grad;
  return logits(model, forward_hidden(model, batch(), {}));
}

struct Trained {
  Model model;
  NamedTensors weights;
};

Trained start(const AdapterSection& section, const ExportSection& exports) {
  Trained made{.model = load_model(shared_model(), {.dtype = at::kFloat, .device = at::kCPU})};
  attach_lora(made.model, section, 3);
  train_as_served(made.model, served_by(section, exports, made.model.spec));
  made.weights = trainable(made.model, section);
  return made;
}

void take_steps(Trained& trained, OptimizerName name, int64_t steps) {
  Optimizer optimizer({.name = name, .lr = 1e-2}, trained.weights);
  for (int64_t i = 0; i < steps; ++i) {
    const Tensor hidden = forward_hidden(trained.model, batch(), {.training = true});
    cross_entropy_share(hidden, trained.model.head, 0, batch(), {.tokens = 16}, {}).backward();
    std::vector<Tensor> gradients;
    for (auto& [tensor, weight] : trained.weights)
      gradients.push_back(weight.grad().clone()), weight.mutable_grad().zero_();
    optimizer.step(name == OptimizerName::lion ? 1e-3 : 1e-2, gradients, at::zeros({}));
  }
}

AdapterSection section_of(const std::string& qat, std::vector<std::string> targets = {"all-linear"}) {
  AdapterSection section;
  section.qat = qat, section.targets = std::move(targets), section.rank = 4;
  return section;
}

// The model that the exported file is.
Model exported(const Model& trained, const AdapterSection& section, const ExportSection& exports) {
  const Scratch scratch;
  const auto folder = shared_model();
  Model plain = load_model(folder, {.dtype = at::kFloat, .device = at::kCPU});  // as the run's folder has the adapter
  AdapterSection without = section;
  without.qat = "none";
  attach_lora(plain, without, 0);
  std::map<std::string, const Lora*> loras;
  visit_loras(trained, [&](const std::string& module, const Lora& lora) { loras[module] = &lora; });
  visit_loras(plain, [&](const std::string& module, Lora& lora) {
    lora.a = loras.at(module)->a.detach(), lora.b = loras.at(module)->b.detach();
  });
  write_gguf(WeightSource::from_model(plain), plain.spec, Tokenizer::load(folder), scratch / "served.gguf",
             {.type = file_type_named(section.qat), .name = "served", .types = exports.types});
  return load_model(scratch / "served.gguf", {.dtype = at::kFloat, .device = at::kCPU});
}

// Every matrix of both models is in the same blocks, or has the same values.
int64_t same_matrices(const Model& trained, const Model& file) {
  std::map<std::string, const Linear*> of_file;
  visit_linears(file, [&](const Linear& linear) { of_file[linear.name] = &linear; });
  int64_t blocks = 0;
  visit_linears(trained, [&](const Linear& linear) {
    const Linear& other = *of_file.at(linear.name);
    HeldWeight held;
    if (linear.lora && linear.lora->served) {
      held = linear.lora->served->of(dense_weight(linear), *linear.lora);
    } else if (linear.lora) {  // served in F32: apart while it trains
      held = Dense{merged_weight(dense_weight(linear), *linear.lora)};
    } else if (is_quantized(linear)) {
      held = std::get<GgufBlocks>(linear.weight);
    } else {
      held = std::get<Dense>(linear.weight);
    }
    if (const auto* ours = std::get_if<GgufBlocks>(&held)) {
      const auto* theirs = std::get_if<GgufBlocks>(&other.weight);
      ASSERT_TRUE(theirs) << linear.name;
      EXPECT_EQ(ours->block, theirs->block) << linear.name;
      EXPECT_TRUE(at::equal(ours->bytes, theirs->bytes)) << linear.name;
      ++blocks;
    } else {
      EXPECT_TRUE(at::equal(std::get<Dense>(held).weight, dense_weight(other))) << linear.name;
    }
  });
  return blocks;
}

struct Case {
  std::string type;
  std::vector<std::string> targets;
  std::map<std::string, std::string> types;
  int64_t in_blocks;  // linear layers; of 36 with the head, those with 172 columns are F16 in every file but F32
};

// Width 64 and FF 172 meet every fallback, the head is tied.
TEST(Qat, TheFileHoldsTheBlocksThatWereTrainedAndGivesTheirLogits) {
  if (!fs::exists(shared_model())) GTEST_SKIP() << "no test data at " << shared_model();
  const Case cases[] = {{"Q4_K_M", {"all-linear"}, {}, 31},
                        {"Q8_0", {"q_proj", "down_proj"}, {}, 31},
                        {"Q2_K", {"all-linear"}, {{"attn_v", "F32"}, {"ffn_up", "Q5_1"}}, 26},
                        {"F16", {"k_proj", "gate_proj"}, {}, 0}};
  for (const auto& [type, targets, types, in_blocks] : cases) {
    const AdapterSection section = section_of(type, targets);
    ExportSection exports;
    exports.types = types;
    Trained trained = start(section, exports);
    take_steps(trained, OptimizerName::adamw, 3);
    const Model file = exported(trained.model, section, exports);
    EXPECT_EQ(same_matrices(trained.model, file), in_blocks) << type;
    const Tensor ours = logits_of(trained.model), theirs = logits_of(file);
    // The same products of the same bytes in the same order; but an adapter that no rounding takes in adds its own.
    EXPECT_TRUE(types.empty() ? at::equal(ours, theirs) : at::allclose(ours, theirs, 1e-4, 1e-4)) << type;
  }
}

TEST(Qat, EveryOptimizersStepIsSeen) {
  if (!fs::exists(shared_model())) GTEST_SKIP() << "no test data at " << shared_model();
  for (const auto name : {OptimizerName::adamw, OptimizerName::lion, OptimizerName::sgd}) {
    const AdapterSection section = section_of("Q4_0");
    Trained trained = start(section, {});
    take_steps(trained, name, 1);  // B leaves zero
    const Tensor before = logits_of(trained.model);
    take_steps(trained, name, 1);
    EXPECT_FALSE(at::equal(logits_of(trained.model), before));
    EXPECT_TRUE(at::equal(logits_of(trained.model), logits_of(exported(trained.model, section, {}))));
  }
}

TEST(Qat, RecomputationGivesTheSameGradients) {
  if (!fs::exists(shared_model())) GTEST_SKIP() << "no test data at " << shared_model();
  Trained trained = start(section_of("Q4_0"), {});
  take_steps(trained, OptimizerName::adamw, 1);
  std::vector<Tensor> kept;
  for (const Recomputed again : {Recomputed::nothing, Recomputed::mlp, Recomputed::block}) {
    const Tensor hidden = forward_hidden(trained.model, batch(), {.training = true, .recomputed = again});
    cross_entropy_share(hidden, trained.model.head, 0, batch(), {.tokens = 16}, {}).backward();
    for (size_t i = 0; i < trained.weights.size(); ++i) {
      Tensor& grad = trained.weights[i].second.mutable_grad();
      if (again == Recomputed::nothing) kept.push_back(grad.clone());
      EXPECT_TRUE(at::equal(grad, kept[i])) << trained.weights[i].first;
      grad.zero_();
    }
  }
}

}  // namespace
}  // namespace prentice
