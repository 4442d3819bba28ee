// A decoder walked a layer at a time, with an embedding and a head too large to be held, against the same model's
// forward pass in memory.
#include "proof/layer_walk.h"

#include <ATen/ops/allclose.h>
#include <ATen/ops/randn.h>
#include <c10/core/GradMode.h>

#include "adapter/lora.h"
#include "adapter/peft.h"
#include "export/gguf_adapter.h"
#include "export/gguf_model.h"
#include "export/tiny.h"
#include "model/golden.h"
#include "proof/adapter_proof.h"
#include "proof/logit_proof.h"
#include "quant/encode.h"

namespace prentice {
namespace {

constexpr int64_t kWide = 512, kRowsAtOnce = kHeldValues / kWide, kVocab = kRowsAtOnce + 232;

Json large_config(bool tied) {
  Json config = tiny_config();
  config["hidden_size"] = kWide, config["vocab_size"] = kVocab, config["tie_word_embeddings"] = tied;
  config["num_attention_heads"] = 64, config["num_key_value_heads"] = 32;
  return config;
}

// With ids on both sides of the border between two readings.
std::vector<Batch> batches() {
  return {flat_batch({{1, kRowsAtOnce - 1, kRowsAtOnce, 7, kVocab - 1}, {3, kRowsAtOnce + 5}}),
          flat_batch({{kVocab - 2, 9, kRowsAtOnce - 2}})};
}

// Attaches a LoRA whose B is not zero to the attention, the MLP and the head.
void attach_random(Model& model) {
  attach_lora(model, {.rank = 4, .targets = {"q_proj", "down_proj", "lm_head"}}, 5);
  const c10::NoGradGuard no_grad;
  visit_loras(model, [](const std::string&, Lora& lora) { lora.b.copy_(at::randn(lora.b.sizes()) * 0.05); });
}

// [T, V] of all batches, one after the other.
Tensor expected_logits(const Model& model) {
  const c10::NoGradGuard no_grad;
  std::vector<Tensor> all;
  for (const auto& batch : batches()) all.push_back(logits(model, forward_hidden(model, batch, {})));
  return at::cat(all).to(at::kDouble);
}

void expect_walks_as(const Model& model, const WeightReader& reader) {
  const auto all = batches();
  LayerWalk walk(reader, all);
  for (size_t i = 0; i < static_cast<size_t>(model.spec.layers); ++i) walk.step(i);
  walk.finish();
  const Tensor expected = expected_logits(model);
  const auto same = [](const Tensor& a, const Tensor& b) { return at::allclose(a, b, 1e-4, 1e-4); };
  EXPECT_TRUE(same(walk.logits(walk.states(), 0, kVocab), expected));
  const int64_t first = kRowsAtOnce - 10, count = 100;  // some ids, across the border
  EXPECT_TRUE(same(walk.logits(walk.states(), first, count), expected.narrow(1, first, count)));
  const Tensor last = last_logits(reader, all[0], [] {});
  EXPECT_TRUE(same(last, expected.index_select(0, at::tensor({4, 6}))));
}

void write_f32(const WeightSource& source, const std::filesystem::path& path) {
  const auto plans = plan_gguf_tensors(source, source.spec(), {.type = FileType::F32});
  std::vector<GgufTensorInfo> infos;
  for (const auto& plan : plans) infos.push_back(plan.info);
  GgufWriter writer(path, {{"general.architecture", std::string("llama")}}, infos);
  for (const auto& plan : plans) {
    std::vector<std::byte> bytes;
    for_each_gguf_block(source, plan, [&](std::span<const float> values) { encode(values, plan.info.type, bytes); });
    writer.write(plan.info.name, bytes);
  }
  writer.finish();
}

TEST(LayerWalk, ALargeEmbeddingAndHeadAreReadByTheirRows) {
  for (const bool tied : {true, false}) {
    const Model model = tiny_model(large_config(tied));
    const auto source = WeightSource::from_model(model);
    expect_walks_as(model, reader_of(source));
    expect_walks_as(model, reader_of(model));
    const Scratch scratch;
    write_f32(source, scratch / "f32.gguf");
    const auto file = GgufReader::open(scratch / "f32.gguf");
    expect_walks_as(model, reader_of(file, model.spec));
  }
}

TEST(LayerWalk, AnAdapterOfTheHeadIsInItsRows) {
  const Scratch scratch;
  Model model = tiny_model(large_config(false));
  write_tiny(model, scratch / "base", GgmlType::F32, scratch.path());
  write_f32(WeightSource::from_model(model), scratch / "base.gguf");
  attach_random(model);
  const auto source = WeightSource::from_model(model);
  expect_walks_as(model, reader_of(source));
  expect_walks_as(model, reader_of(model));

  std::filesystem::create_directory(scratch / "adapter");
  save_peft(model, scratch / "adapter", "base", "f32");
  write_gguf_adapter(scratch / "adapter", model.spec, scratch / "adapter.gguf", {.type = GgmlType::F32});
  const auto base = WeightSource::from_folder(model.spec, scratch / "base");
  const auto adapter = GgufReader::open(scratch / "adapter.gguf");
  expect_walks_as(model, with_gguf_adapter(reader_of(base), adapter));
}

// One weight of the last id's row, behind the border, makes its logit another where its state is not zero.
TEST(LogitProof, SeesARowOfALargeHeadThatIsAnother) {
  const Model model = tiny_model(large_config(false));
  const auto source = WeightSource::from_model(model);
  const WeightReader own = reader_of(source);
  const WeightReader other{own.spec, [&](const std::string& name, int64_t first, const Tensor& rows) {
                             own.read(name, first, rows);
                             if (name == "lm_head.weight" && first + rows.size(0) == kVocab)
                               rows.select(0, rows.size(0) - 1).mul_(-20);
                           }};
  const auto all = batches();
  const std::function<void()> before_layer = [] {};
  EXPECT_EQ(SideBySide(own, own, all, before_layer).compare({}).kld_mean, 0);
  const LogitProof found = SideBySide(own, other, all, before_layer).compare({});
  EXPECT_GT(found.kld_mean, 0);
  // By hand: D(p || q) where one id's probability becomes another.
  const Tensor p = expected_logits(model).log_softmax(-1);
  Tensor changed = expected_logits(model);
  changed.select(1, kVocab - 1).mul_(-20);
  const Tensor q = changed.log_softmax(-1);
  const Tensor divergences = (p.exp() * (p - q)).sum(-1);
  EXPECT_NEAR(found.kld_mean, divergences.mean().item<double>(), 1e-3 * divergences.mean().item<double>());
  EXPECT_EQ(found.tokens, 10);
  EXPECT_EQ(found.targets, 7);  // three sequences end
}

}  // namespace
}  // namespace prentice
