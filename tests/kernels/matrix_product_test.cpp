#include "kernels/matrix_product.h"

#include <ATen/ops/mm.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include <cmath>

namespace prentice {
namespace {

// The f64 product is the reference; f32 sums of k terms differ from it by about k roundings at worst.
void expect_product(const Tensor& x, const Tensor& weight) {
  const Tensor wanted = at::mm(x.to(at::kDouble), weight.to(at::kDouble).t());
  const Tensor got = product_transposed(x, weight).to(at::kDouble);
  ASSERT_EQ(got.sizes(), wanted.sizes());
  const double bound = 1e-6 * std::sqrt(static_cast<double>(x.size(1))) * wanted.abs().max().item().toDouble();
  EXPECT_LT(got.sub(wanted).abs().max().item().toDouble(), bound) << x.sizes() << " by " << weight.sizes();
}

TEST(MatrixProduct, EqualsTheWideProductInEveryLayoutAndSize) {
  for (const int64_t rows : {1, 7, 127, 128, 300}) {
    for (const int64_t in : {16, 64, 200}) {
      for (const int64_t out : {8, 64, 515}) {
        const Tensor x = at::randn({rows, in}), weight = at::randn({out, in});
        expect_product(x, weight);
        expect_product(x, weight.t().contiguous().t());                       // the gradient of an input
        expect_product(at::randn({rows, in + 40}).narrow(1, 5, in), weight);  // columns of a wider matrix
      }
    }
  }
}

TEST(MatrixProduct, GivesTheSameBitsEveryTime) {
  const Tensor x = at::randn({512, 576}), weight = at::randn({960, 576});
  const Tensor first = product_transposed(x, weight);
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(first.equal(product_transposed(x, weight)));
}

}  // namespace
}  // namespace prentice
