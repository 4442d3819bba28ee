#include "kernels/meta_forms.h"

#include <ATen/ExpandUtils.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/result_type.h>
#include <torch/library.h>

#include <utility>

#include "core/tensor.h"
#include "core/wide_type.h"

namespace prentice {

namespace {

Tensor index_select(const Tensor& x, int64_t dim, const Tensor& index) {
  auto shape = x.sizes().vec();
  shape[static_cast<size_t>(c10::maybe_wrap_dim(dim, x.dim()))] = index.numel();
  return at::empty(shape, x.options());
}

Tensor embedding_dense_backward(const Tensor& grad, const Tensor&, int64_t rows, int64_t, bool) {
  return at::empty({rows, grad.size(-1)}, grad.options());
}

// The statistics of each row are f32 where the values are halves.
std::tuple<Tensor, Tensor, Tensor> native_layer_norm(const Tensor& x, at::IntArrayRef normalized,
                                                     const std::optional<Tensor>&, const std::optional<Tensor>&,
                                                     double) {
  auto rows = x.sizes().vec();
  for (size_t i = 0; i < normalized.size(); ++i) rows[rows.size() - 1 - i] = 1;
  const Tensor statistic = at::empty(rows, x.options().dtype(wide_type(x)));
  return {at::empty(x.sizes(), x.options()), statistic, at::empty(rows, statistic.options())};
}

std::tuple<Tensor, Tensor, Tensor> native_layer_norm_backward(const Tensor&, const Tensor& x, at::IntArrayRef,
                                                              const Tensor&, const Tensor&,
                                                              const std::optional<Tensor>& weight,
                                                              const std::optional<Tensor>& bias,
                                                              std::array<bool, 3> wanted) {
  const auto like = [](bool made, const Tensor& of) { return made ? at::empty(of.sizes(), of.options()) : Tensor(); };
  return {like(wanted[0], x), like(wanted[1], weight.value_or(Tensor())), like(wanted[2], bias.value_or(Tensor()))};
}

Tensor& abs_out(const Tensor& x, Tensor& out) {
  out.resize_(x.sizes());
  return out;
}

Tensor where(const Tensor& condition, const Tensor& a, const Tensor& b) {
  const auto shape = at::infer_size(condition.sizes(), at::infer_size(a.sizes(), b.sizes()));
  return at::empty(shape, a.options().dtype(at::result_type(a, b)));
}

Tensor segment_reduce(const Tensor& data, c10::string_view, const std::optional<Tensor>&, const std::optional<Tensor>&,
                      const std::optional<Tensor>& offsets, int64_t, bool, const std::optional<at::Scalar>&) {
  return at::empty({offsets->size(0) - 1}, data.options());
}

Tensor dot(const Tensor& a, const Tensor&) { return at::empty({}, a.options()); }

thread_local bool t_stands_for_cpu = false;

}  // namespace

MetaStandsForCpu::MetaStandsForCpu(bool yes) : before_(std::exchange(t_stands_for_cpu, yes)) {}
MetaStandsForCpu::~MetaStandsForCpu() { t_stands_for_cpu = before_; }
bool MetaStandsForCpu::now() { return t_stands_for_cpu; }

void register_meta_forms() {
  static const torch::Library library = [] {
    torch::Library forms(torch::Library::IMPL, "aten", c10::DispatchKey::Meta, __FILE__, __LINE__);
    forms.impl("index_select", &index_select);
    forms.impl("embedding_dense_backward", &embedding_dense_backward);
    forms.impl("dot", &dot);
    forms.impl("native_layer_norm", &native_layer_norm);
    forms.impl("native_layer_norm_backward", &native_layer_norm_backward);
    forms.impl("abs.out", &abs_out);
    forms.impl("where.self", &where);
    forms.impl("segment_reduce", &segment_reduce);
    return forms;
  }();
}

}  // namespace prentice
