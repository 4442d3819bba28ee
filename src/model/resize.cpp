#include "model/resize.h"

#include <ATen/ops/mean.h>
#include <c10/core/GradMode.h>

#include "nn/linear.h"

namespace prentice {

namespace {

void start(const Tensor& rows, std::span<const int32_t> ids, int64_t known) {
  const Tensor mean = rows.narrow(0, 0, known).mean(at::IntArrayRef{0}, /*keepdim=*/false, at::kFloat);
  for (const int32_t id : ids) rows.select(0, id).copy_(mean);
}

}  // namespace

ModelSpec with_vocabulary(ModelSpec spec, int64_t rows) {
  if (rows == spec.vocab) return spec;
  spec.vocab = rows;
  Json& decoder = spec.section.empty() ? spec.config : spec.config[spec.section];
  decoder["vocab_size"] = rows;
  return spec;
}

void start_rows(Model& model, std::span<const int32_t> ids, int64_t known) {
  const c10::NoGradGuard no_grad;
  if (ids.empty()) return;
  start(model.embed, ids, known);
  if (model.spec.labels > 0) return;
  if (!model.spec.tied_head) start(dense_weight(model.head), ids, known);
  if (model.head.bias.defined()) start(model.head.bias, ids, known);
}

}  // namespace prentice
