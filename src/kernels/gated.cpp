#include "kernels/gated.h"

#include <ATen/Dispatch.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/silu.h>
#include <torch/csrc/autograd/custom_function.h>

#include "kernels/operation.h"
#include "kernels/vector.h"

namespace prentice {

namespace {

template <Gate kGate, class T>
PRENTICE_VECTORISED void forward_row(const T* gate, const T* up, T* y, int64_t width) {
  for (int64_t j = 0; j < width; ++j) y[j] = gated_value<kGate, T, Wide<T>>(gate[j], up[j]);
}

template <Gate kGate, class T>
PRENTICE_VECTORISED void backward_row(const T* grad, const T* gate, const T* up, T* dgate, T* dup, int64_t width) {
  for (int64_t j = 0; j < width; ++j) {
    gated_gradient<kGate, T, Wide<T>>(grad[j], gate[j], up[j], dgate[j], dup[j]);
  }
}

// use.operator()<kGate>() of the gate of this number: dispatched schemas know no enumerations.
template <class Use>
void with_gate(int64_t kind, Use&& use) {
  switch (static_cast<Gate>(kind)) {
    case Gate::silu:
      return use.template operator()<Gate::silu>();
    case Gate::gelu:
      return use.template operator()<Gate::gelu>();
    case Gate::gelu_tanh:
      return use.template operator()<Gate::gelu_tanh>();
  }
  TORCH_CHECK(false, "gated: no gate ", kind);
}

using Whole = Tensor(const Tensor&, const Tensor&, int64_t);
using Backward = Tensor(const Tensor&, const Tensor&, const Tensor&, int64_t);

Tensor forward_meta(const Tensor& gate, const Tensor&, int64_t) { return at::empty(gate.sizes(), gate.options()); }

Tensor forward_cpu(const Tensor& gate, const Tensor& up, int64_t kind) {
  Tensor y = forward_meta(gate, up, kind);
  const int64_t width = gate.size(1);
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kBFloat16, at::kHalf, gate.scalar_type(), "gated", [&] {
    const auto g = const_rows_of<scalar_t>(gate), u = const_rows_of<scalar_t>(up);
    const auto out = rows_of<scalar_t>(y);
    with_gate(kind, [&]<Gate kGate>() {
      at::parallel_for(0, gate.size(0), row_grain(width), [&](int64_t begin, int64_t end) {
        for (int64_t t = begin; t < end; ++t) forward_row<kGate>(g[t], u[t], out[t], width);
      });
    });
  });
  return y;
}

// The gradients of gate and up beside each other: [T, 2F].
Tensor backward_meta(const Tensor&, const Tensor& gate, const Tensor&, int64_t) {
  return at::empty({gate.size(0), 2 * gate.size(1)}, gate.options());
}

Tensor backward_cpu(const Tensor& grad, const Tensor& gate, const Tensor& up, int64_t kind) {
  Tensor both = backward_meta(grad, gate, up, kind);
  const int64_t width = gate.size(1);
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kBFloat16, at::kHalf, gate.scalar_type(), "gated_backward", [&] {
    const auto dy = const_rows_of<scalar_t>(grad), g = const_rows_of<scalar_t>(gate), u = const_rows_of<scalar_t>(up);
    const auto out = rows_of<scalar_t>(both);
    with_gate(kind, [&]<Gate kGate>() {
      at::parallel_for(0, gate.size(0), row_grain(width), [&](int64_t begin, int64_t end) {
        for (int64_t t = begin; t < end; ++t) backward_row<kGate>(dy[t], g[t], u[t], out[t], out[t] + width, width);
      });
    });
  });
  return both;
}

struct Gated : torch::autograd::Function<Gated> {
  static Tensor forward(torch::autograd::AutogradContext* context, const Tensor& any_gate, const Tensor& any_up,
                        int64_t kind) {
    static const auto forward = operation<Whole>("prentice::gated_forward");
    const at::AutoDispatchBelowADInplaceOrView plain;
    const Tensor gate = with_dense_rows(any_gate), up = with_dense_rows(any_up);
    context->save_for_backward({gate, up});
    context->saved_data["kind"] = kind;
    return forward.call(gate, up, kind);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list grads) {
    static const auto backward = operation<Backward>("prentice::gated_backward");
    const auto saved = context->get_saved_variables();
    const int64_t width = saved[0].size(1);
    const Tensor both =
        backward.call(with_dense_rows(grads[0]), saved[0], saved[1], context->saved_data["kind"].toInt());
    return {both.narrow(1, 0, width), both.narrow(1, width, width), Tensor()};
  }
};

Tensor with_gradient(const Tensor& gate, const Tensor& up, int64_t kind) { return Gated::apply(gate, up, kind); }

Tensor composite(const Tensor& gate, const Tensor& up, int64_t kind) {
  return gated_composite(static_cast<Gate>(kind), gate, up);
}

}  // namespace

Tensor gated_composite(Gate kind, const Tensor& gate, const Tensor& up) {
  if (kind == Gate::silu) return at::silu(gate) * up;
  return at::gelu(gate, kind == Gate::gelu ? "none" : "tanh") * up;
}

Tensor gated(Gate kind, const Tensor& gate, const Tensor& up) {
  static const auto product = operation<Whole>("prentice::gated");
  return product.call(gate, up, static_cast<int64_t>(kind));
}

}  // namespace prentice

TORCH_LIBRARY_FRAGMENT(prentice, library) {
  library.def("gated(Tensor gate, Tensor up, int kind) -> Tensor", &prentice::composite);
  library.def("gated_forward(Tensor gate, Tensor up, int kind) -> Tensor");
  library.def("gated_backward(Tensor grad, Tensor gate, Tensor up, int kind) -> Tensor");
  prentice::implement_on_devices(library, "gated", &prentice::with_gradient);
  prentice::implement_pass(library, "gated_forward", &prentice::forward_cpu, &prentice::forward_meta);
  prentice::implement_pass(library, "gated_backward", &prentice::backward_cpu, &prentice::backward_meta);
}
