#include "export/weight_source.h"

#include <ATen/ops/randn.h>
#include <c10/core/GradMode.h>

#include <algorithm>

#include "adapter/lora.h"
#include "adapter/peft.h"
#include "export/tiny.h"
#include "io/file.h"

namespace prentice {
namespace {

// Attaches a LoRA whose B is not zero, so that folding it in changes something.
void attach_random(Model& model, const AdapterSection& section) {
  attach_lora(model, section, 5);
  const c10::NoGradGuard no_grad;
  visit_linears(model, [](Linear& linear) {
    if (linear.lora) linear.lora->b.copy_(at::randn(linear.lora->b.sizes()));
  });
}

TEST(WeightSource, AFolderWithAnAdapterGivesTheMergedWeights) {
  const Scratch scratch;
  auto model = tiny_model(tiny_config());
  write_tiny(model, scratch / "base", GgmlType::F32, scratch.path());
  attach_random(model, {.rank = 4, .alpha = 6.0, .rslora = true});
  std::filesystem::create_directory(scratch / "adapter");
  save_peft(model, scratch / "adapter", "base", "f32");

  const auto streamed = WeightSource::from_folder(model.spec, scratch / "base", scratch / "adapter");
  std::map<std::string, std::vector<float>> attached;
  for (const auto& [name, shape] : streamed.tensors())
    attached[name] = values_of(WeightSource::from_model(model), name);
  merge(model);
  const auto merged = WeightSource::from_model(model);
  ASSERT_EQ(streamed.tensors().size(), merged.tensors().size());
  const auto plain = WeightSource::from_folder(model.spec, scratch / "base");
  EXPECT_NE(values_of(plain, "model.layers.1.mlp.down_proj.weight"),
            values_of(merged, "model.layers.1.mlp.down_proj.weight"));
  for (const auto& [name, shape] : merged.tensors()) {
    const auto wanted = values_of(merged, name), from_folder = values_of(streamed, name);
    ASSERT_EQ(wanted.size(), from_folder.size());
    for (size_t i = 0; i < wanted.size(); ++i) {
      EXPECT_NEAR(from_folder[i], wanted[i], 1e-6f * (1 + std::abs(wanted[i]))) << name;
      EXPECT_EQ(attached.at(name)[i], from_folder[i]) << name;
    }
  }
}

// Exports read blocks of rows: any range must be the same rows of the whole.
TEST(WeightSource, ARangeOfRowsIsThatPartOfTheWhole) {
  const Scratch scratch;
  auto model = tiny_model(tiny_config());
  write_tiny(model, scratch / "base", GgmlType::BF16, scratch.path());
  attach_random(model, {.rank = 4});
  std::filesystem::create_directory(scratch / "adapter");
  save_peft(model, scratch / "adapter", "base", "f32");
  const auto folder = WeightSource::from_folder(model.spec, scratch / "base", scratch / "adapter");
  const auto memory = WeightSource::from_model(model);
  for (const auto* source : {&folder, &memory}) {
    for (size_t i = 0; i < source->tensors().size(); ++i) {
      const auto& [name, shape] = source->tensors()[i];
      const auto whole = values_of(*source, name);
      const auto columns = row_shape(shape).columns;
      std::vector<float> part(5 * columns);
      source->read_rows(i, 7, 5, part);
      EXPECT_TRUE(std::ranges::equal(part, std::span(whole).subspan(7 * columns, part.size()))) << name;
    }
  }
}

TEST(WeightSource, AdaptersThatDoNotFitAreRefused) {
  const Scratch scratch;
  auto model = tiny_model(tiny_config());
  write_tiny(model, scratch / "base", GgmlType::F32, scratch.path());
  attach_random(model, {.rank = 4, .targets = {"q_proj"}});
  std::filesystem::create_directory(scratch / "adapter");
  save_peft(model, scratch / "adapter", "base", "f32");
  auto other = tiny_config();
  other["num_attention_heads"] = 12;
  ExitCode code = ExitCode::ok;
  const auto text =
      message_of([&] { WeightSource::from_folder(read_spec(other), scratch / "base", scratch / "adapter"); }, &code);
  EXPECT_TRUE(contains(text, "expected shape [96, 48] by config.json, got [48, 48]")) << text;
  EXPECT_EQ(code, ExitCode::model);

  auto wide = tiny_model(other);
  write_tiny(wide, scratch / "wide", GgmlType::F32, scratch.path());
  EXPECT_TRUE(
      contains(message_of([&] { WeightSource::from_folder(wide.spec, scratch / "wide", scratch / "adapter"); }, &code),
               "expected lora_A [4, 48] and lora_B [96, 4], got [4, 48] and [48, 4]"));
  EXPECT_EQ(code, ExitCode::model);
}

TEST(WeightSource, ATiedHeadWithAnAdapterCannotBeMerged) {
  auto config = tiny_config();
  config["tie_word_embeddings"] = true;
  auto model = tiny_model(config);
  attach_random(model, {.rank = 2, .targets = {"lm_head"}});
  EXPECT_TRUE(
      contains(message_of([&] { WeightSource::from_model(model); }), "the adapter on lm_head cannot be merged"));
}

TEST(WeightSource, ValuesThatAreNotFiniteStopTheExport) {
  auto model = tiny_model(tiny_config());
  {
    const c10::NoGradGuard no_grad;
    model.layers[1].down.bias = Tensor();
    dense_weight(model.layers[1].down).select(0, 3).select(0, 1).fill_(std::numeric_limits<float>::infinity());
  }
  const auto source = WeightSource::from_model(model);
  ExitCode code = ExitCode::ok;
  EXPECT_EQ(message_of([&] { values_of(source, "model.layers.1.mlp.down_proj.weight"); }, &code),
            "tensor model.layers.1.mlp.down_proj.weight has a value that is not finite");
  EXPECT_EQ(code, ExitCode::numerical);
}

}  // namespace
}  // namespace prentice
