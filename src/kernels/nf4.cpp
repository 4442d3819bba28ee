#include "kernels/nf4.h"

#include <ATen/ops/empty.h>
#include <c10/core/GradMode.h>

#include <map>
#include <mutex>

#include "kernels/operation.h"
#include "kernels/reused_buffer.h"

namespace prentice {

namespace {

using Dequantize = void(const Tensor&, const Tensor&, const std::optional<Tensor>&, double, int64_t, const Tensor&,
                        const Tensor&);

void dequantize_cpu(const Tensor& codes, const Tensor& absmax, const std::optional<Tensor>& nested_absmax,
                    double offset, int64_t block, const Tensor&, const Tensor& out) {
  Tensor values = out;
  decode_nf4({.codes = codes,
              .absmax = absmax,
              .nested_absmax = nested_absmax.value_or(Tensor()),
              .offset = static_cast<float>(offset),
              .block = block,
              .rows = out.size(0),
              .columns = out.size(1)},
             values);
}

void dequantize_meta(const Tensor&, const Tensor&, const std::optional<Tensor>&, double, int64_t, const Tensor&,
                     const Tensor&) {}

// Where the weight is: the kernel of a device cannot read the host's.
Tensor scale_map_on(const at::Device& device) {
  if (!device.is_cuda()) return nf4_scale_map();
  static std::mutex mutex;
  static std::map<int, Tensor> maps;
  const std::lock_guard lock(mutex);
  Tensor& map = maps[device.index()];
  if (!map.defined()) map = nf4_scale_map().to(device);
  return map;
}

}  // namespace

Tensor dequantized(const Nf4& weight, at::ScalarType type) {
  static const auto dequantize = operation<Dequantize>("prentice::dequantize_nf4");
  const c10::NoGradGuard no_grad;
  const std::initializer_list<int64_t> shape = {weight.rows, weight.columns};
  const Tensor values =
      weight.codes.is_cpu() ? reused_buffer(shape, type) : at::empty(shape, weight.codes.options().dtype(type));
  const auto nested = weight.nested() ? std::optional(weight.nested_absmax) : std::nullopt;
  dequantize.call(weight.codes, weight.absmax, nested, weight.offset, weight.block, scale_map_on(weight.codes.device()),
                  values);
  return values;
}

}  // namespace prentice

TORCH_LIBRARY_FRAGMENT(prentice, library) {
  library.def(
      "dequantize_nf4(Tensor codes, Tensor absmax, Tensor? nested_absmax, float offset, int block, Tensor map, "
      "Tensor(a!) out) -> ()");
  prentice::implement_pass(library, "dequantize_nf4", &prentice::dequantize_cpu, &prentice::dequantize_meta);
}
