// LibTorch seeds its generator anew in every process: a test of random values would pass today and fail tomorrow. Part
// of every test program.
#include <ATen/Context.h>
#include <gtest/gtest.h>

namespace {

class Seeder : public testing::EmptyTestEventListener {
  void OnTestStart(const testing::TestInfo&) override { at::manual_seed(20261121); }
};

[[maybe_unused]] const bool listens = [] {
  testing::UnitTest::GetInstance()->listeners().Append(new Seeder);  // gtest owns it
  return true;
}();

}  // namespace
