#include "plan/nearest_fit.h"

#include <gtest/gtest.h>

#include "artifact/open.h"

namespace prentice {
namespace {

using Words = std::vector<std::string>;

// LoRA of rank 16 on all linear layers of Llama 3.1 8B, in micro-batches of 8,192 tokens of two rows.
StepShape llama_8b() {
  StepShape shape{.spec = open_shape({.path = "llama-3.1-8b"}).spec, .dtype = c10::kBFloat16, .is_gpu = true};
  shape.spec.vocab = 32000;  // logits are less than a step's activations
  shape.parameters = parameter_count(shape.spec);
  shape.adapter = AdapterSection{.alpha = 32};
  shape.micro_tokens = 8192, shape.longest = 4096;
  return shape;
}

StepShape full_llama() {
  StepShape shape = llama_8b();
  shape.adapter->kind = AdapterKind::full;
  shape.dtype = c10::kFloat;
  return shape;
}

int64_t peak(StepShape shape, Recomputed again, int64_t tokens, bool offload = false) {
  shape.recomputed = again, shape.micro_tokens = tokens, shape.offload = offload;
  return step_memory(shape).peak();
}

TEST(NearestFit, ChangesNoMoreThanIsNeeded) {
  using enum Recomputed;
  const StepShape shape = llama_8b();
  const int64_t whole = peak(shape, nothing, 8192), selective = peak(shape, mlp, 8192);
  const int64_t recomputed = peak(shape, block, 8192), least = peak(shape, block, 4096);
  struct Case {
    const char* what;
    int64_t memory;
    Words words;
  };
  for (const auto& [what, memory, words] : {Case{"one byte short", whole - 1, {"train.recompute=selective"}},
                                            Case{"the MLPs, exactly", selective, {"train.recompute=selective"}},
                                            Case{"less than that", selective - 1, {"train.recompute=block"}},
                                            Case{"recomputed, exactly", recomputed, {"train.recompute=block"}},
                                            Case{"both", least, {"train.recompute=block", "train.micro_tokens=4096"}},
                                            Case{"what waits on the host",
                                                 peak(shape, block, 8192, true),
                                                 {"train.recompute=block", "train.offload=true"}}}) {
    const NearestFit found = nearest_fit(shape, {}, {}, memory);
    ASSERT_TRUE(found.fits) << what;
    EXPECT_EQ(found.words, words) << what;
    EXPECT_LE(found.memory.peak(), memory) << what;
    EXPECT_EQ(found.memory.peak(), step_memory(found.shape).peak()) << what;
  }
}

TEST(NearestFit, ShorterRowsComeLast) {
  const StepShape shape = llama_8b();
  const int64_t memory = peak(shape, Recomputed::block, 4096, true) - 1;
  const NearestFit shorter = nearest_fit(shape, {}, {}, memory);
  EXPECT_TRUE(shorter.fits);
  EXPECT_EQ(shorter.words.back(), "data.max_length=2048");
  const NearestFit pairs = nearest_fit(shape, {}, {.group = 2, .refuses_long = true}, memory);
  EXPECT_EQ(Words(pairs.words.end() - 2, pairs.words.end()), (Words{"data.max_length=1024", "data.overlong=drop"}));
  EXPECT_EQ(nearest_fit(shape, {}, {.four_bits = true}, memory).words.back(), "model.quantize=nf4");
  EXPECT_FALSE(nearest_fit(shape, {}, {.refuses_long = true, .shortest = 4000}, memory).fits) << "no row would be left";
}

TEST(NearestFit, OfWhatIsLearntAsLittleAsPossibleChanges) {
  const StepShape shape = full_llama();
  const Changeable may{.offload = false, .four_bits = true, .adapter = true};
  StepShape changed = shape;
  changed.optimizer = OptimizerName::adamw8bit;
  const int64_t in_8bit = peak(changed, Recomputed::block, 4096);
  const NearestFit moments = nearest_fit(shape, {}, may, in_8bit);
  EXPECT_TRUE(moments.fits);
  EXPECT_EQ(moments.words.back(), "optim.name=adamw8bit");
  EXPECT_EQ(nearest_fit(shape, {}, may, in_8bit - 1).words.back(), "adapter.kind=lora");
  const int64_t four_bits = int64_t{12} << 30;
  const Words both = nearest_fit(shape, {}, may, four_bits).words;
  EXPECT_EQ(Words(both.end() - 2, both.end()), (Words{"adapter.kind=lora", "model.quantize=nf4"}));
  EXPECT_FALSE(nearest_fit(shape, {}, {.four_bits = true}, four_bits).fits) << "four bits cannot train";
}

TEST(NearestFit, AProofIsLeftOutWhereItIsWhatDoesNotFit) {
  StepShape shape = llama_8b();
  shape.recomputed = Recomputed::block, shape.micro_tokens = 1024, shape.longest = 512;
  shape.offload = true;  // or embedding and head would leave it room
  ExportSection exports{.merged = "bf16"};
  const MemoryByPhase memory = run_memory(shape, exports);
  ASSERT_EQ(memory.peak_phase(), "verify");
  EXPECT_EQ(nearest_fit(shape, exports, {}, memory.verify - 1).words, Words{"export.verify=false"});
  exports.verify = false;
  EXPECT_LT(run_memory(shape, exports).peak(), memory.peak());
}

TEST(NearestFit, WhatNothingMakesFitIsNamed) {
  const NearestFit found = nearest_fit(llama_8b(), {}, {}, int64_t{8} << 30);
  EXPECT_FALSE(found.fits);
  const std::string said = advice_of(found, 0);
  EXPECT_NE(said.find("no change of the recipe is enough"), std::string::npos) << said;
  EXPECT_NE(said.find("the model's weights"), std::string::npos) << said;
  StepShape shape = llama_8b();
  EXPECT_EQ(largest_part(shape).first, "what is kept for the backward pass");
  shape.recomputed = Recomputed::block;
  EXPECT_EQ(largest_part(shape).first, "the model's weights");
}

}  // namespace
}  // namespace prentice
