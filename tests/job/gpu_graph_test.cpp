// Passes recorded as CUDA graphs against those that are launched one by one.
#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include "job/gpu_run.h"
#include "job/graph.h"
#include "job/graph_steps.h"

namespace prentice {
namespace {

class GpuGraph : public GpuRun {};

TEST_F(GpuGraph, ReplayedStepsHaveTheBitsOfLaunchedOnes) {
  const at::Device device(at::kCUDA, 0);
  for (const char* folder : kFolders) {
    const Trained launched = train_steps(folder, at::kBFloat16, true, {}, device);
    const Trained replayed = train_steps(folder, at::kBFloat16, true, graph_recorder(device), device);
    EXPECT_GT(replayed.replays, 0) << folder;
    for (size_t i = 0; i < launched.losses.size(); ++i) {
      EXPECT_TRUE(at::equal(launched.losses[i], replayed.losses[i])) << folder << ", loss of step " << i;
    }
    for (size_t i = 0; i < launched.gradients.size(); ++i) {
      EXPECT_TRUE(at::equal(launched.gradients[i], replayed.gradients[i])) << folder << ", gradient " << i;
    }
  }
}

TEST_F(GpuGraph, APassThatCannotBeRecordedIsToldAndLeavesTheDeviceUsable) {
  const at::Device device(at::kCUDA, 0);
  const Tensor one = at::zeros({}, at::TensorOptions(at::kFloat).device(device)) + 1;
  std::string reason;
  // Reading a value waits for the device, which nothing recorded can do.
  EXPECT_FALSE(graph_recorder(device).record([&] { one.add(1).item<float>(); }, reason));
  EXPECT_NE(reason, "");
  EXPECT_EQ((one + 1).item<float>(), 2);
}

}  // namespace
}  // namespace prentice
