#include "nn/add_norm.h"

#include <ATen/TensorOperators.h>

#include "kernels/rms_norm.h"

namespace prentice {

std::tuple<Tensor, Tensor> add_and_normalize(const Norm& norm, const Tensor& x, const Tensor& residual) {
  if (!norm.centred) return add_rms_norm(x, residual, norm.weight, norm.eps, norm.offset);
  const Tensor sum = x + residual;
  return {sum, normalize(norm, sum)};
}

}  // namespace prentice
