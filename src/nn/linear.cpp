#include "nn/linear.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/split_with_sizes.h>
#include <c10/core/GradMode.h>

#include "nn/projection.h"

namespace prentice {

namespace {

ProductPart product_part(const Linear& linear, const Batch* batch, const ForwardOptions& options) {
  ProductPart part{.weight = dense_weight(linear), .bias = linear.bias};
  if (!linear.lora || !linear.lora->enabled) return part;
  const Lora& lora = *linear.lora;
  part.a = lora.a, part.b = lora.b, part.scale = lora.scale;
  if (options.training && lora.dropout > 0) {
    part.dropout = DropoutKey{.seed = options.seed,
                              .step = options.step,
                              .module = lora.module,
                              .rate = lora.dropout,
                              .sample_key = batch->sample_key,
                              .sequence_id = batch->sequence_id,
                              .positions = batch->positions};
  }
  return part;
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
  if (projection.widths.empty()) return results;
  return at::split_with_sizes(results.size() == 1 ? results[0] : at::cat(results, 1), projection.widths, 1);
}

}  // namespace

Tensor linear(const Linear& linear, const Tensor& x, const Batch& batch, const ForwardOptions& options) {
  return products(x, {product_part(linear, &batch, options)}, {})[0];
}

Tensor linear(const Linear& linear, const Tensor& x) { return products(x, {product_part(linear, nullptr, {})}, {})[0]; }

std::vector<Tensor> project(const Projection& projection, const Tensor& x, const Batch& batch,
                            const ForwardOptions& options) {
  return project_with(projection, x, &batch, options);
}

std::vector<Tensor> project(const Projection& projection, const Tensor& x) {
  return project_with(projection, x, nullptr, {});
}

const Tensor& dense_weight(const Linear& linear) { return std::get<Dense>(linear.weight).weight; }

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
