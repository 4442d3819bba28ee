#include "nn/linear.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/split_with_sizes.h>
#include <c10/core/GradMode.h>

#include "nn/dora.h"
#include "nn/projection.h"
#include "nn/served_weight.h"

namespace prentice {

namespace {

std::optional<DropoutKey> dropout_of(const Lora& lora, const Batch* batch, const ForwardOptions& options) {
  if (!options.training || lora.dropout == 0) return std::nullopt;
  return DropoutKey{.seed = options.seed,
                    .step = options.step,
                    .module = lora.module,
                    .rate = lora.dropout,
                    .sample_key = batch->sample_key,
                    .sequence_id = batch->sequence_id,
                    .positions = batch->positions};
}

bool has_magnitude(const Linear& linear) {
  return linear.lora && linear.lora->enabled && linear.lora->magnitude.defined();
}

// The factors are in the weight: they are read for their gradients alone.
void take_served(ProductPart& part, const Linear& linear) {
  const Lora& lora = *linear.lora;
  const HeldWeight& held = lora.served->of(dense_weight(linear), lora);
  if (const auto* blocks = std::get_if<GgufBlocks>(&held)) {
    part.weight = Tensor(), part.quantized = *blocks;
  } else {
    part.weight = std::get<Dense>(held).weight;
  }
  if (c10::GradMode::is_enabled()) part.a = lora.a, part.b = lora.b, part.folded = true;
}

// A magnitude scales what the product gives, so the bias waits for it; with dropout so does the adapter.
ProductPart product_part(const Linear& linear, const Batch* batch, const ForwardOptions& options) {
  ProductPart part = base_part(linear);
  if (!has_magnitude(linear)) part.bias = linear.bias;
  if (!linear.lora) return part;
  const Lora& lora = *linear.lora;
  part.scale = lora.scale;
  if (!lora.enabled) {  // the base: what PiSSA took off it is put back
    part.a = lora.first_a, part.b = lora.first_b;
    return part;
  }
  if (lora.served) {
    take_served(part, linear);
    return part;
  }
  const auto dropout = dropout_of(lora, batch, options);
  if (dropout && lora.magnitude.defined()) return part;
  part.a = lora.a, part.b = lora.b, part.dropout = dropout;
  return part;
}

Tensor finished(const Linear& linear, const Tensor& product, const Tensor& x, const Batch* batch,
                const ForwardOptions& options) {
  if (!has_magnitude(linear)) return product;
  const auto dropout = dropout_of(*linear.lora, batch, options);
  return dropout ? with_magnitude(linear, product, x, *dropout) : with_magnitude(linear, product);
}

Tensor linear_with(const Linear& linear, const Tensor& x, const Batch* batch, const ForwardOptions& options) {
  return finished(linear, products(x, {product_part(linear, batch, options)}, {})[0], x, batch, options);
}

// A part may have been given other storage since they were joined (merged, cast to f32 to be trained); then the joined
// copy is out of date and the parts stand alone.
Tensor joined_if_current(const Projection& projection) {
  const Tensor& joined = projection.joined;
  if (!joined.defined()) return {};
  int64_t row = 0;
  for (const auto& part : projection.parts) {
    const Tensor& weight = dense_weight(part);
    if (!weight.is_alias_of(joined) || weight.scalar_type() != joined.scalar_type() || weight.stride(1) != 1 ||
        weight.storage_offset() != joined.storage_offset() + row * joined.size(1)) {
      return {};
    }
    row += weight.size(0);
  }
  return row == joined.size(0) ? joined : Tensor();
}

std::vector<Tensor> project_with(const Projection& projection, const Tensor& x, const Batch* batch,
                                 const ForwardOptions& options) {
  std::vector<ProductPart> parts;
  for (const auto& part : projection.parts) parts.push_back(product_part(part, batch, options));
  auto results = products(x, parts, joined_if_current(projection));
  for (size_t i = 0; i < results.size(); ++i) {
    results[i] = finished(projection.parts[i], results[i], x, batch, options);
  }
  if (projection.widths.empty()) return results;
  return at::split_with_sizes(results.size() == 1 ? results[0] : at::cat(results, 1), projection.widths, 1);
}

}  // namespace

Tensor linear(const Linear& linear, const Tensor& x, const Batch& batch, const ForwardOptions& options) {
  return linear_with(linear, x, &batch, options);
}

Tensor linear(const Linear& linear, const Tensor& x) { return linear_with(linear, x, nullptr, {}); }

std::vector<Tensor> project(const Projection& projection, const Tensor& x, const Batch& batch,
                            const ForwardOptions& options) {
  return project_with(projection, x, &batch, options);
}

std::vector<Tensor> project(const Projection& projection, const Tensor& x) {
  return project_with(projection, x, nullptr, {});
}

const Tensor& dense_weight(const Linear& linear) { return std::get<Dense>(linear.weight).weight; }

bool is_quantized(const Linear& linear) { return !std::holds_alternative<Dense>(linear.weight); }

Packed packed_weight(const Linear& linear) {
  if (const auto* held = std::get_if<Nf4>(&linear.weight)) return *held;
  return std::get<GgufBlocks>(linear.weight);
}

Tensor weight_values(const Linear& linear) {
  if (!is_quantized(linear)) return dense_weight(linear);
  const Packed weight = packed_weight(linear);
  return dequantized(weight, options_of(weight).dtype().toScalarType());
}

at::TensorOptions weight_options(const Linear& linear) {
  return is_quantized(linear) ? options_of(packed_weight(linear)) : dense_weight(linear).options();
}

void join(Projection& projection) {
  const c10::NoGradGuard no_grad;
  std::vector<Tensor> weights;
  for (const auto& part : projection.parts) weights.push_back(dense_weight(part));
  projection.joined = at::cat(weights, 0);
  int64_t row = 0;
  for (auto& part : projection.parts) {
    Tensor& weight = std::get<Dense>(part.weight).weight;
    const int64_t rows = weight.size(0);
    weight = projection.joined.narrow(0, row, rows);
    row += rows;
  }
}

}  // namespace prentice
