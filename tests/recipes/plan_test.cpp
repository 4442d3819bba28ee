#include "recipes/plan.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "recipes/units.h"

namespace prentice {
namespace {

// Llama 3.1 8B. Parameters by transformers: 8,030,261,248.
StepShape llama_8b() {
  StepShape shape;
  shape.spec.hidden = 4096, shape.spec.layers = 32, shape.spec.heads = 32, shape.spec.kv_heads = 8;
  shape.spec.head_dim = 128, shape.spec.feed_forward = 14336, shape.spec.vocab = 128256;
  shape.weight_bytes = 2, shape.parameters = 8'030'261'248, shape.trainable = 41'943'040;
  shape.adapter_rank_sum = 16 * 7 * 32;
  shape.micro_tokens = 8192, shape.longest = 4096, shape.is_gpu = true;
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
  shape.recompute_blocks = true;
  const int64_t recomputed = step_memory(shape).peak();
  shape.micro_tokens = 4096;
  EXPECT_LT(recomputed, whole / 2);
  EXPECT_LT(step_memory(shape).peak(), recomputed);
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
