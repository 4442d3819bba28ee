#include "nn/dora.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/mm.h>
#include <c10/core/GradMode.h>

#include "core/wide_type.h"
#include "nn/projection.h"

namespace prentice {

namespace {

// What is multiplied by f32 factors is rounded once, when it is whole.
Tensor scaled(const Tensor& product, const Tensor& factors) { return (product * factors).to(product.scalar_type()); }

Tensor with_bias(const Tensor& product, const Tensor& bias) {
  return bias.defined() ? product + bias.to(product.scalar_type()) : product;
}

}  // namespace

Tensor row_squares(const Tensor& weight) {
  const c10::NoGradGuard no_grad;
  if (weight.is_meta()) return at::empty({weight.size(0)}, weight.options().dtype(wide_type(weight)));
  return at::linalg_vector_norm(weight, 2, at::IntArrayRef{1}, false, wide_type(weight)).square_();
}

Tensor adapted_row_norms(const Linear& linear) {
  const c10::NoGradGuard no_grad;
  const Lora& lora = *linear.lora;
  const Tensor weight = weight_values(linear);
  const auto wide = wide_type(weight);
  const Tensor a = lora.a.to(wide), b = lora.b.to(wide);
  const Tensor across = at::mm(weight, a.to(weight.scalar_type()).t()).to(wide);  // W A^T, [out, R]
  const Tensor gram = at::mm(b, at::mm(a, a.t()));                                // B (A A^T), [out, R]
  const Tensor added = (across * (2 * lora.scale) + gram * (lora.scale * lora.scale)).mul_(b).sum(1);
  return (lora.row_squares + added).clamp_min_(0).sqrt_();
}

Tensor dora_gain(const Linear& linear) { return linear.lora->magnitude / adapted_row_norms(linear); }

Tensor with_magnitude(const Linear& linear, const Tensor& product) {
  return with_bias(scaled(product, dora_gain(linear)), linear.bias);
}

Tensor with_magnitude(const Linear& linear, const Tensor& frozen, const Tensor& x, const DropoutKey& key) {
  const Lora& lora = *linear.lora;
  const Tensor gain = dora_gain(linear);
  const Tensor dropped = dropout(x, key);
  const Tensor again = products(dropped, {base_part(linear)}, {})[0];
  const Tensor low = at::mm(dropped, lora.a.to(x.scalar_type()).t());
  const Tensor added = at::mm(low, lora.b.to(x.scalar_type()).t()).mul(lora.scale);
  return with_bias(frozen + scaled(again, gain - 1) + scaled(added, gain), linear.bias);
}

}  // namespace prentice
