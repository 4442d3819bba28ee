#include "plan/plan.h"

#include <gtest/gtest.h>

#include "artifact/open.h"
#include "config/words.h"
#include "core/error.h"
#include "core/meta_memory.h"
#include "core/units.h"
#include "eval/score.h"
#include "objective/head.h"
#include "plan/rehearsal.h"

namespace prentice {
namespace {

constexpr int64_t kUnit = MetaMemory::kGrain;  // bytes that an allocation is rounded up to

// LoRA of rank 16 on all linear layers of Llama 3.1 8B. Parameters by transformers: 8,030,261,248; those of the adapter
// by PEFT: 41,943,040.
StepShape llama_8b() {
  StepShape shape{.spec = open_shape({.path = "llama-3.1-8b"}).spec, .dtype = c10::kBFloat16, .is_gpu = true};
  shape.parameters = 8'030'261'248, shape.trainable = 41'943'040;
  shape.adapter = AdapterSection{.alpha = 32};
  shape.micro_tokens = 8192, shape.longest = 4096;
  return shape;
}

TEST(Plan, FlopsOfAnAdapterStepAreThoseOfThePerformanceBudget) {
  // By hand: 30 GFLOP of frozen products and 3.8 of causal attention a token, at rows of 4,096.
  EXPECT_NEAR(flops_per_token(llama_8b(), 4096) / 1e9, 33.8, 0.8);
}

TEST(Plan, SavedActivationsAreAboutWhatThePerformanceBudgetSays) {
  // By hand: about 140 kB a token and layer, 36 GB at 8,192 tokens.
  const MemoryByPhase memory = step_memory(llama_8b());
  EXPECT_NEAR(static_cast<double>(memory.forward - memory.step) / 1e9, 36, 9);
}

TEST(Plan, RecomputationAndSmallerMicroBatchesNeedLess) {
  StepShape shape = llama_8b();
  const int64_t whole = step_memory(shape).peak();
  shape.recomputed = Recomputed::mlp;
  const int64_t selective = step_memory(shape).peak();
  shape.recomputed = Recomputed::block;
  const int64_t recomputed = step_memory(shape).peak();
  shape.micro_tokens = 4096;
  EXPECT_LT(selective, whole);
  EXPECT_LT(recomputed, selective);
  EXPECT_LT(recomputed, whole / 2);
  EXPECT_LT(step_memory(shape).peak(), recomputed);
}

TEST(Plan, CountsTheChunksOfTheHeadThatTheDeviceTakes) {
  StepShape shape = llama_8b();
  shape.adapter.reset();
  shape.micro_tokens = 1024, shape.longest = 1024;  // a block's values are less than a chunk of logits
  const int64_t gpu = step_memory(shape).eval - kGpuContextBytes;
  shape.is_gpu = false;
  const int64_t more = default_logit_bytes(true) - default_logit_bytes(false);
  const int64_t cpu = rehearse(shape).eval;
  EXPECT_NEAR(static_cast<double>(gpu - cpu), 1.5 * more, 0.5 * more);
}

// What a step holds, of torch's own tensors: weights and adapter by PEFT's count, moments and gradients in f32.
TEST(Plan, TheRehearsalCountsWhatTensorsTake) {
  StepShape shape = llama_8b();
  const Rehearsed found = rehearse(shape);
  EXPECT_NEAR(static_cast<double>(found.weights), 2.0 * 8'030'261'248 + 4.0 * 41'943'040, 1e6);
  EXPECT_EQ(found.moments, 8 * shape.trainable + 2 * kUnit);  // the step and the rate
  EXPECT_EQ(found.gradients, 4 * shape.trainable);
  const int64_t held = found.weights + found.moments + found.gradients + found.kept;
  EXPECT_GT(found.forward, held);
  EXPECT_GT(found.backward, held);
  shape.adapter = AdapterSection{.kind = AdapterKind::full};
  shape.dtype = c10::kFloat, shape.trainable = shape.parameters, shape.micro_tokens = 1024, shape.longest = 1024;
  const Rehearsed full = rehearse(shape);
  EXPECT_NEAR(static_cast<double>(full.weights), 4.0 * 8'030'261'248, 1e6);
  EXPECT_NEAR(static_cast<double>(full.gradients), 4.0 * 8'030'261'248, 1e6);
  EXPECT_NEAR(static_cast<double>(full.moments), 8.0 * 8'030'261'248, 1e6);
}

// By hand: 32 block inputs of [8192, 4096] in bf16 leave the device, and two of them visit it; so do the moments, and
// embedding and head, of which the head is there while a loss is computed.
TEST(Plan, WhatWaitsOnTheHostIsNotOnTheDevice) {
  StepShape shape = llama_8b();
  shape.recomputed = Recomputed::block, shape.state_bytes = 8 * shape.trainable + 4;
  const Rehearsed here = rehearse(shape);
  const int64_t context = step_memory(shape).step;
  shape.offload = true;
  const Rehearsed there = rehearse(shape);
  const int64_t input = int64_t{8192} * 4096 * 2, end = int64_t{128256} * 4096 * 2;
  EXPECT_EQ(here.weights - there.weights, 2 * end);
  EXPECT_EQ(there.fetched, end);
  EXPECT_EQ(here.moments - there.moments, 8 * shape.trainable);
  EXPECT_EQ(here.kept - there.kept, 32 * input);
  EXPECT_EQ(offloaded_bytes(shape), 34 * input + 8 * shape.trainable + 4 + (int64_t{2} << 30));
  shape.longest = 8193;  // pinned memory comes in powers of two
  EXPECT_EQ(offloaded_bytes(shape), 34 * 2 * input + 8 * shape.trainable + 4 + (int64_t{2} << 30));
  const int64_t saved = here.backward - there.backward;
  EXPECT_NEAR(static_cast<double>(saved), 30.0 * input + 8.0 * shape.trainable + 2.0 * end, 2.0 * input);
  EXPECT_EQ(context - step_memory(shape).step, 8 * shape.trainable - there.paged + 2 * end);
}

// By hand: a CPU keeps q, k, v and the result of attention in f32, where a GPU has them in bf16, and v perhaps a second
// time, its rows next to each other. Those in bf16 that the f32 ones are made of may live on or not.
TEST(Plan, OnACpuAttentionInBf16KeepsCopiesInF32) {
  StepShape shape = llama_8b();
  shape.micro_tokens = 1024, shape.longest = 512;
  const int64_t gpu = rehearse(shape).kept;
  shape.is_gpu = false;
  const int64_t more = rehearse(shape).kept - gpu;
  const int64_t values = int64_t{32} * 1024 * (4096 + 2 * 1024), result = int64_t{32} * 1024 * 4096;
  EXPECT_GE(more, (4 - 2) * (values + result) - int64_t{32} * 1024 * 1024 * 2);
  EXPECT_LE(more, 4 * values + 4 * result);
}

// By hand, of torch's bytes: two codes a weight, two scales for 256 of them, the step and the rate. Every matrix of the
// adapter has more than 4,096 elements and a multiple of 256; only B of k and v has scales of half a unit.
TEST(Plan, MomentsIn8BitsTakeTwoBytesAWeightAndTheirScales) {
  StepShape shape = llama_8b();
  const MemoryByPhase in_f32 = step_memory(shape);
  shape.optimizer = OptimizerName::adamw8bit;
  const int64_t held = rehearse(shape).moments;
  EXPECT_EQ(held, 2 * shape.trainable + 8 * shape.trainable / 256 + 32 * 2 * 2 * kUnit / 2 + 2 * kUnit);
  EXPECT_EQ(in_f32.save - step_memory(shape).save, 8 * shape.trainable + 2 * kUnit - held);
  EXPECT_EQ(in_f32.step - step_memory(shape).step, 8 * shape.trainable + 2 * kUnit - held);
}

TEST(Plan, EveryLossCanBeRehearsed) {
  StepShape shape = llama_8b();
  shape.spec = open_shape({.path = "gemma-3-1b"}).spec;
  shape.micro_tokens = 512, shape.longest = 200;
  const Rehearsed labels = rehearse(shape);
  const auto expect_more = [&](const char* what) {
    const Rehearsed found = rehearse(shape);
    EXPECT_EQ(found.weights, labels.weights) << what;
    EXPECT_GT(found.backward, found.weights + found.asked + found.kept) << what;
  };
  shape.loss = StepLoss::answers;
  expect_more("answers");
  for (const char* with_layer_norm : {"phi-2", "stablelm-2-1.6b"}) {
    StepShape other = shape;
    other.spec = open_shape({.path = with_layer_norm}).spec;
    EXPECT_GT(rehearse(other).backward, 0) << with_layer_norm;
    other.adapter = AdapterSection{.kind = AdapterKind::full};
    EXPECT_GT(rehearse(other).backward, 0) << with_layer_norm;
  }
  shape.asked = AskedModel{.spec = shape.spec};
  expect_more("answers beside a reference");
  shape.loss = StepLoss::distributions;
  for (const auto loss : {DistillLoss::forward_kl, DistillLoss::reverse_kl, DistillLoss::jsd, DistillLoss::tvd,
                          DistillLoss::ce, DistillLoss::hidden_mse, DistillLoss::hidden_cosine, DistillLoss::uld}) {
    for (const auto place : {AskedModel::Place::with_model, AskedModel::Place::host}) {
      shape.asked = AskedModel{.spec = open_shape({.path = "gemma-2-2b"}).spec,
                               .place = place,
                               .dtype = c10::kBFloat16,
                               .teach = DistillSection{.loss = loss}};
      expect_more(std::string(word_of(loss)).c_str());
      EXPECT_EQ(rehearse(shape).asked > 0, place == AskedModel::Place::with_model);
    }
  }
  shape.asked.reset(), shape.loss = StepLoss::scores, shape.spec.labels = 1;
  EXPECT_GT(rehearse(shape).backward, 0);
}

// By hand: gradients of all weights stand there when a second micro-batch begins; in the only one they come as what is
// kept goes.
TEST(Plan, TheOnlyMicroBatchOfAStepMeetsNoGradients) {
  StepShape shape = llama_8b();
  shape.adapter = AdapterSection{.kind = AdapterKind::full};
  shape.micro_tokens = 512, shape.longest = 512;
  const Rehearsed second = rehearse(shape);
  shape.accumulates = false;
  const Rehearsed only = rehearse(shape);
  EXPECT_EQ(only.gradients, second.gradients);
  EXPECT_EQ(only.kept, second.kept);
  EXPECT_EQ(second.forward - only.forward, only.gradients);
  EXPECT_GE(only.backward, only.weights + only.moments + only.gradients);
  EXPECT_LT(only.backward, second.backward - only.kept / 2);
}

TEST(Plan, NothingIsLeftOfARehearsal) {
  const int64_t before = MetaMemory::live();
  rehearse(llama_8b());
  EXPECT_EQ(MetaMemory::live(), before);
}

TEST(Plan, ScoringIsPlannedForTheBatchesItRuns) {
  StepShape shape = llama_8b();
  shape.longest = 0, shape.micro_tokens = 0;
  const Hardware hardware{.is_gpu = true, .memory_bytes = int64_t{80} << 30};
  const int64_t planned = scoring_plan(shape, hardware).memory.eval;
  shape.micro_tokens = kEvalMicroTokens;
  EXPECT_EQ(planned, step_memory(shape).eval);
}

TEST(Plan, AHardwareNameBringsItsDeviceItsTypeItsMemoryAndPrice) {
  RunSection run;
  const auto [machine, hardware] = decide_place(run, "h100-80gb");
  EXPECT_TRUE(hardware.is_gpu);
  EXPECT_EQ(hardware.memory_bytes, int64_t{80} << 30);
  EXPECT_GT(hardware.price_per_hour, 0);
  EXPECT_TRUE(machine.device.is_cuda());
  EXPECT_EQ(machine.dtype, c10::kBFloat16);
  EXPECT_EQ(run.device, "cuda");
  EXPECT_EQ(run.precision, Precision::bf16);
}

TEST(Plan, WithoutANameThisMachineIsMeant) {
  RunSection run{.device = "cpu"};
  const auto [machine, hardware] = decide_place(run, "");
  EXPECT_FALSE(hardware.is_gpu);
  EXPECT_EQ(machine.dtype, c10::kFloat);
}

TEST(Plan, AnUnknownHardwareNameOrOneAgainstTheDeviceIsRefused) {
  struct Case {
    const char *device, *hardware, *hint;
  };
  for (const auto& [device, hardware, hint] :
       {Case{"cuda", "h100-80g", "did you mean 'h100-80gb'?"}, Case{"cpu", "h100-80gb", "leave one of the two out"}}) {
    RunSection run{.device = device};
    try {
      decide_place(run, hardware);
      FAIL();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::usage);
      EXPECT_EQ(error.diagnostics()[0].hint, hint);
    }
  }
}

TEST(Units, ReadAsAPersonWritesThem) {
  EXPECT_EQ(human_bytes(950), "950 B");
  EXPECT_EQ(human_bytes(3.96e6), "4.0 MB");
  EXPECT_EQ(human_bytes(850e6), "850 MB");
  EXPECT_EQ(human_bytes(61.3e9), "61.3 GB");
  EXPECT_EQ(human_count(18400), "18.4k");
  EXPECT_EQ(human_duration(42), "42 s");
  EXPECT_EQ(human_duration(171), "2:51");
  EXPECT_EQ(human_duration(4360), "01:12:40");
}

}  // namespace
}  // namespace prentice
