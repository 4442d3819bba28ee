#include "nn/norm.h"

#include <ATen/ops/layer_norm.h>

#include "kernels/rms_norm.h"

namespace prentice {

Tensor normalize(const Norm& norm, const Tensor& x) {
  if (!norm.centred) return rms_norm(x, norm.weight, norm.eps, norm.offset);
  const Tensor bias = norm.bias.defined() ? norm.bias.to(x.scalar_type()) : Tensor();
  return at::layer_norm(x, {x.size(-1)}, norm.weight.to(x.scalar_type()), bias, norm.eps);
}

}  // namespace prentice
