// The plug-in loads anywhere, and says so when there is nothing for it to do.
#include "kernels/cuda_plugin.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "kernels/dropout.h"

namespace prentice {
namespace {

std::filesystem::path plugin_beside_this_program() {
  return std::filesystem::read_symlink("/proc/self/exe").parent_path() / "libprentice_cuda.so";
}

TEST(CudaPlugin, AMissingFileIsAReasonAndNoFailure) {
  std::string reason;
  EXPECT_EQ(open_cuda_plugin("no/such/plugin.so", reason), nullptr);
  EXPECT_NE(reason.find("no/such/plugin.so"), std::string::npos);
}

TEST(CudaPlugin, LoadsWithAndWithoutADevice) {
  if (!std::filesystem::exists(plugin_beside_this_program())) GTEST_SKIP() << "built without CUDA";
  std::string reason;
  const CudaTable* table = open_cuda_plugin(plugin_beside_this_program(), reason);
  ASSERT_NE(table, nullptr) << reason;
  EXPECT_EQ(table->version, kCudaTableVersion);
  size_t free = 0, total = 0;
  if (table->device_count() == 0) {
    EXPECT_NE(table->memory(0, &free, &total), 0);
  } else {
    EXPECT_EQ(table->memory(0, &free, &total), 0);
    EXPECT_GT(total, free);
  }
}

TEST(CudaPlugin, DropoutGivesTheSameBitsAsTheCpu) {
  load_cuda_plugin();
  if (!cuda()) GTEST_SKIP() << cuda_absence();
  for (const auto type : {at::kFloat, at::kDouble, at::kBFloat16, at::kHalf}) {
    const at::Tensor x = at::randn({37, 45}, at::kDouble).to(type);
    DropoutKey key{.seed = 3,
                   .step = 4,
                   .module = 5,
                   .rate = 0.3,
                   .sample_key = at::tensor({int64_t{9}}),
                   .sequence_id = at::zeros({37}, at::kInt),
                   .positions = at::arange(37)};
    const at::Tensor host = apply_dropout(x, key);
    for (at::Tensor* tensor : {&key.sample_key, &key.sequence_id, &key.positions}) *tensor = tensor->to(at::kCUDA);
    EXPECT_TRUE(at::equal(apply_dropout(x.to(at::kCUDA), key).to(at::kCPU), host));
  }
}

}  // namespace
}  // namespace prentice
