#include "kernels/gguf_blocks.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/index_select.h>
#include <c10/core/GradMode.h>

#include "kernels/operation.h"
#include "kernels/reused_buffer.h"

namespace prentice {

namespace {

using Dequantize = void(const Tensor&, int64_t, const Tensor&);

void dequantize_cpu(const Tensor& bytes, int64_t type, const Tensor& out) {
  Tensor values = out;
  decode_rows(bytes, static_cast<GgmlType>(type), values);
}

void dequantize_meta(const Tensor&, int64_t, const Tensor&) {}

void dequantize(const GgufBlocks& weight, const Tensor& out) {
  static const auto operator_handle = operation<Dequantize>("prentice::dequantize_gguf");
  operator_handle.call(weight.bytes, static_cast<int64_t>(weight.block), out);
}

}  // namespace

Tensor dequantized(const GgufBlocks& weight, at::ScalarType type) {
  const c10::NoGradGuard no_grad;
  const std::initializer_list<int64_t> shape = {weight.rows, weight.columns};
  const Tensor values =
      weight.bytes.is_cpu() ? reused_buffer(shape, type) : at::empty(shape, weight.bytes.options().dtype(type));
  dequantize(weight, values);
  return values;
}

Tensor looked_up(const GgufBlocks& weight, const Tensor& ids) {
  const c10::NoGradGuard no_grad;
  GgufBlocks rows = weight;
  rows.bytes = at::index_select(weight.bytes, 0, ids);
  rows.rows = ids.size(0);
  const Tensor values = at::empty({rows.rows, rows.columns}, weight.options());
  dequantize(rows, values);
  return values;
}

}  // namespace prentice

TORCH_LIBRARY_FRAGMENT(prentice, library) {
  library.def("dequantize_gguf(Tensor bytes, int type, Tensor(a!) out) -> ()");
  prentice::implement_pass(library, "dequantize_gguf", &prentice::dequantize_cpu, &prentice::dequantize_meta);
}
