// What tests of products share: the batch they run on, and how far two results are apart.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "core/batch.h"

namespace prentice {

// The norm of the difference by that of `b`.
inline double relative(const Tensor& a, const Tensor& b) {
  return at::linalg_vector_norm(a.detach() - b.detach()).item<double>() /
         at::linalg_vector_norm(b.detach()).item<double>();
}

inline Batch one_sequence(int64_t tokens) {
  return {.positions = at::arange(tokens),
          .sequence_id = at::zeros({tokens}, at::kInt),
          .sample_key = at::tensor({int64_t{4}})};
}

}  // namespace prentice
