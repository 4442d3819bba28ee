// The buffer of dequantized weights.
#include "kernels/nf4.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include <thread>

namespace prentice {
namespace {

Nf4 encoded(const Tensor& values, bool nested) {
  Nf4 made = make_nf4(values.size(0), values.size(1), nested, at::TensorOptions(values.scalar_type()));
  encode_nf4(values, made);
  return made;
}

TEST(Nf4Kernel, GivesTheDecodedValuesInAnyType) {
  for (const bool nested : {false, true}) {
    const Nf4 weight = encoded(at::randn({12, 70}), nested);
    for (const auto type : {at::kFloat, at::kDouble, at::kBFloat16, at::kHalf}) {
      Tensor want = at::empty({12, 70}, type);
      decode_nf4(weight, want);
      EXPECT_TRUE(at::equal(dequantized(weight, type), want));
    }
  }
}

TEST(Nf4Kernel, TheNextWeightTakesTheSameMemory) {
  const Nf4 large = encoded(at::randn({64, 80}), true), small = encoded(at::randn({3, 5}), true);
  const void* first = dequantized(large, at::kFloat).const_data_ptr();
  const Tensor second = dequantized(small, at::kFloat);
  EXPECT_EQ(second.const_data_ptr(), first);
  EXPECT_EQ(second.sizes(), (at::IntArrayRef{3, 5}));
  EXPECT_EQ(dequantized(large, at::kFloat).const_data_ptr(), first);
  const Tensor kept = dequantized(small, at::kFloat);
  const void* other = nullptr;  // a thread of its own has memory of its own
  std::thread([&] { other = dequantized(large, at::kFloat).const_data_ptr(); }).join();
  EXPECT_NE(other, first);
  Tensor want = at::empty({3, 5});
  decode_nf4(small, want);
  EXPECT_TRUE(at::equal(kept, want));
}

TEST(Nf4Kernel, OfShapesAloneItIsAShape) {
  const Nf4 weight = make_nf4(6, 64, true, at::TensorOptions(at::kFloat).device(at::kMeta));
  const Tensor values = dequantized(weight, at::kBFloat16);
  EXPECT_TRUE(values.is_meta());
  EXPECT_EQ(values.sizes(), (at::IntArrayRef{6, 64}));
  EXPECT_EQ(values.scalar_type(), at::kBFloat16);
}

}  // namespace
}  // namespace prentice
