// The product behind linear() and project() as one differentiable operation over plain tensors: shared input, joined
// weights, and every part's low-rank adapter added in place. Separate from linear.h because only it knows autograd.
#pragma once

#include <optional>
#include <vector>

#include "core/tensor.h"
#include "kernels/dropout.h"
#include "nn/linear.h"

namespace prentice {

struct ProductPart {
  Tensor weight;                    // [out, in]; undefined where it is quantized
  std::optional<Packed> quantized;  // dequantized for each pass; no gradient of its own
  Tensor bias;                      // [out] or undefined
  Tensor a, b;                      // [R, in], [out, R], or both undefined
  double scale = 1;
  std::optional<DropoutKey> dropout;  // of the adapter's input
  // The weight has a and b in it already, rounded: they add nothing to the product, and get the gradients that they
  // would have without the rounding (straight-through, Bengio et al. 2013). dx goes through the weight as it is, which
  // is the gradient of what was computed.
  bool folded = false;
};

// The weight alone.
ProductPart base_part(const Linear&);

// x [T, in] -> one [T, out_i] a part: x W_i^T + bias_i + scale_i dropout(x) A_i^T B_i^T. With `joined` (all weights
// stacked, the parts being views of it) this is one product and the results are column ranges of one matrix.
std::vector<Tensor> products(const Tensor& x, const std::vector<ProductPart>& parts, const Tensor& joined);

}  // namespace prentice
