#include "nn/merge_rows.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <c10/core/GradMode.h>

#include <algorithm>

namespace prentice {

namespace {

// 2 MB of f32: with their codes they stay in the caches, and the heap gives the same pages to every block.
constexpr int64_t kValues = int64_t{1} << 19;

}  // namespace

void merge_rows(Tensor& rows, const Tensor& a, const Tensor& b, double scale, const Tensor& magnitude) {
  const c10::NoGradGuard no_grad;
  rows.addmm_(b, a, 1, scale);
  if (!magnitude.defined()) return;
  const Tensor norms = at::linalg_vector_norm(rows, 2, at::IntArrayRef{1}, false);
  rows.mul_((magnitude / norms).unsqueeze(1));
}

int64_t rows_at_a_time(int64_t columns, int64_t multiple) {
  return multiple * std::max<int64_t>(kValues / (multiple * std::max<int64_t>(columns, 1)), 1);
}

}  // namespace prentice
