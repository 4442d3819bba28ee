// The plug-in loads anywhere, and says so when there is nothing for it to do.
#include "kernels/cuda_plugin.h"

#include <ATen/core/dispatch/Dispatcher.h>
#include <gtest/gtest.h>

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
  for (const char* name : {"dropout", "dequantize_nf4", "dequantize_gguf", "rms_norm_forward", "rms_norm_backward",
                           "rms_norm_weight_backward", "add_rms_norm_forward", "add_rms_norm_backward", "rotate_into",
                           "gated_forward", "gated_backward", "label_losses"}) {
    const auto found = c10::Dispatcher::singleton().findSchema({std::string("prentice::") + name, ""});
    ASSERT_TRUE(found) << name;
    EXPECT_TRUE(found->hasKernelForDispatchKey(c10::DispatchKey::CUDA)) << name;
  }
  size_t free = 0, total = 0;
  if (table->device_count() == 0) {
    EXPECT_NE(table->memory(0, &free, &total), 0);
  } else {
    EXPECT_EQ(table->memory(0, &free, &total), 0);
    EXPECT_GT(total, free);
  }
}

}  // namespace
}  // namespace prentice
