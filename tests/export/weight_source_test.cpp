#include "export/weight_source.h"

#include <ATen/ops/randn.h>
#include <c10/core/GradMode.h>

#include <algorithm>

#include "adapter/lora.h"
#include "adapter/merge.h"
#include "adapter/peft.h"
#include "adapter/saved_modules.h"
#include "export/tiny.h"
#include "io/file.h"

namespace prentice {
namespace {

// Attaches a LoRA whose B is not zero, so that folding it in changes something.
void attach_random(Model& model, const AdapterSection& section) {
  attach_lora(model, section, 5);
  const c10::NoGradGuard no_grad;
  visit_loras(model, [](const std::string&, Lora& lora) {
    lora.a.copy_(at::randn(lora.a.sizes()));
    lora.b.copy_(at::randn(lora.b.sizes()));
    if (lora.magnitude.defined()) lora.magnitude.mul_(1.5);
  });
  for (auto& [name, tensor] : saved_tensors(model)) tensor.add_(at::randn(tensor.sizes()));
}

// What two sums of the same terms in f32 may differ by, whatever their order: twice n u of the sum of the terms' sizes
// (Higham 2002, eq. 3.5). A magnitude that is 1.5 times a row's norm lengthens it by no more.
std::map<std::string, std::vector<float>> merge_errors(const Model& model, int64_t rank) {
  Model sizes = model;
  visit(sizes, [](const std::string&, Tensor& tensor) { tensor = tensor.detach().abs(); });
  visit_loras(sizes, [](const std::string&, Lora& lora) {
    lora.a = lora.a.detach().abs(), lora.b = lora.b.detach().abs();
    lora.magnitude = Tensor();
  });
  if (sizes.spec.tied_head) sizes.head.weight = Dense{sizes.embed};
  merge(sizes);
  const auto source = WeightSource::from_model(sizes);
  std::map<std::string, std::vector<float>> errors;
  for (const auto& [name, shape] : source.tensors()) {
    errors[name] = values_of(source, name);
    for (float& value : errors[name]) value *= 1.5f * 2 * static_cast<float>(rank + 2) * 0x1p-24f;
  }
  return errors;
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
  const auto errors = merge_errors(model, 4);
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
      EXPECT_NEAR(from_folder[i], wanted[i], errors.at(name)[i]) << name;
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
               "q_proj.lora_B.weight: expected shape [96, 4], got [48, 4]"));
  EXPECT_EQ(code, ExitCode::model);
}

// Adapters of every kind, from the folder and from memory, against the merged model; ends of a tied model part.
TEST(WeightSource, AdaptersOfEveryKindGiveTheMergedWeights) {
  struct Row {
    bool tied, unties;
    AdapterSection section;
  };
  const Row rows[] = {
      {false, false, {.kind = AdapterKind::dora, .rank = 4, .targets = {"all-linear"}}},
      {false, false, {.rank = 3, .targets = {"embed_tokens", "lm_head", "q_proj"}}},
      {true, true, {.rank = 3, .targets = {"embed_tokens"}}},
      {true, true, {.rank = 2, .targets = {"lm_head"}}},
      {true, true, {.rank = 2, .targets = {"q_proj"}, .modules_to_save = {"lm_head"}}},
      {true, false, {.rank = 2, .targets = {"q_proj"}, .modules_to_save = {"embed_tokens", "lm_head"}}},
      {false, false, {.rank = 2, .targets = {"q_proj"}, .modules_to_save = {"norm", "k_proj", "embed_tokens"}}},
  };
  for (const auto& [tied, unties, section] : rows) {
    SCOPED_TRACE(section.targets[0]);
    const Scratch scratch;
    auto config = tiny_config();
    config["tie_word_embeddings"] = tied;
    auto model = tiny_model(config);
    const ModelSpec spec = model.spec;
    write_tiny(model, scratch / "base", GgmlType::F32, scratch.path());
    attach_random(model, section);
    std::filesystem::create_directory(scratch / "adapter");
    save_peft(model, scratch / "adapter", "base", "f32");
    const auto folder = WeightSource::from_folder(spec, scratch / "base", scratch / "adapter");
    std::map<std::string, std::vector<float>> memory;
    const auto attached = WeightSource::from_model(model);
    for (const auto& [name, shape] : attached.tensors()) memory[name] = values_of(attached, name);
    const auto errors = merge_errors(model, section.rank);
    merge(model);
    const auto merged = WeightSource::from_model(model);
    EXPECT_EQ(folder.spec().tied_head, tied && !unties);
    EXPECT_EQ(folder.spec().config.at("tie_word_embeddings").as_bool(), tied && !unties);
    ASSERT_EQ(folder.tensors().size(), merged.tensors().size());
    for (const auto& [name, shape] : merged.tensors()) {
      const auto wanted = values_of(merged, name), found = values_of(folder, name);
      ASSERT_EQ(wanted.size(), found.size()) << name;
      for (size_t i = 0; i < wanted.size(); ++i) {
        EXPECT_NEAR(found[i], wanted[i], errors.at(name)[i]) << name;
        EXPECT_EQ(memory.at(name)[i], found[i]) << name;
      }
    }
  }
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

// How a stop signal ends an export in the middle of a tensor.
TEST(WeightSource, WhatIsCalledBeforeEachReadCanEndTheWork) {
  const Scratch scratch;
  auto model = tiny_model(tiny_config());
  auto source = WeightSource::from_model(model);
  int reads = 0;
  source.before_each_read([&] {
    if (++reads == 3) fail(ExitCode::storage, "stopped");
  });
  ExitCode code = ExitCode::ok;
  EXPECT_EQ(message_of([&] { write_hf_folder(source, source.spec(), scratch.path(), scratch.path(), {}); }, &code),
            "stopped");
  EXPECT_EQ(reads, 3);
}

}  // namespace
}  // namespace prentice
