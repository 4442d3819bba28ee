// A GPU as a run has it, or the test is skipped by name.
#pragma once

#include <gtest/gtest.h>

#include "artifact/machine.h"
#include "kernels/cuda_plugin.h"

namespace prentice {

class GpuRun : public testing::Test {
 protected:
  void SetUp() override {
    load_cuda_plugin();
    if (!cuda()) GTEST_SKIP() << cuda_absence();
    apply_machine({.device = at::kCUDA, .dtype = at::kBFloat16, .threads = 2}, /*deterministic=*/true);
  }
};

}  // namespace prentice
