#include "kernels/silu_mul.h"

#include <ATen/Dispatch.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/silu.h>
#include <torch/csrc/autograd/custom_function.h>

#include "kernels/operation.h"
#include "kernels/vector.h"
#include "kernels/vector_math.h"

namespace prentice {

namespace {

template <class T>
PRENTICE_VECTORISED void forward_row(const T* gate, const T* up, T* y, int64_t width) {
  for (int64_t j = 0; j < width; ++j) {
    const Wide<T> g = static_cast<Wide<T>>(gate[j]);
    y[j] = static_cast<T>(g / (1 + fast_exp(-g)) * static_cast<Wide<T>>(up[j]));
  }
}

template <class T>
PRENTICE_VECTORISED void backward_row(const T* grad, const T* gate, const T* up, T* dgate, T* dup, int64_t width) {
  for (int64_t j = 0; j < width; ++j) {
    const Wide<T> dy = static_cast<Wide<T>>(grad[j]), g = static_cast<Wide<T>>(gate[j]);
    const Wide<T> sigmoid = 1 / (1 + fast_exp(-g));
    dgate[j] = static_cast<T>(dy * static_cast<Wide<T>>(up[j]) * sigmoid * (1 + g * (1 - sigmoid)));
    dup[j] = static_cast<T>(dy * g * sigmoid);
  }
}

using Forward = Tensor(const Tensor&, const Tensor&);
using Backward = Tensor(const Tensor&, const Tensor&, const Tensor&);

Tensor forward_meta(const Tensor& gate, const Tensor&) { return at::empty(gate.sizes(), gate.options()); }

Tensor forward_cpu(const Tensor& gate, const Tensor& up) {
  Tensor y = forward_meta(gate, up);
  const int64_t width = gate.size(1);
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kBFloat16, at::kHalf, gate.scalar_type(), "silu_mul", [&] {
    const auto g = const_rows_of<scalar_t>(gate), u = const_rows_of<scalar_t>(up);
    const auto out = rows_of<scalar_t>(y);
    at::parallel_for(0, gate.size(0), row_grain(width), [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) forward_row(g[t], u[t], out[t], width);
    });
  });
  return y;
}

// The gradients of gate and up beside each other: [T, 2F].
Tensor backward_meta(const Tensor&, const Tensor& gate, const Tensor&) {
  return at::empty({gate.size(0), 2 * gate.size(1)}, gate.options());
}

Tensor backward_cpu(const Tensor& grad, const Tensor& gate, const Tensor& up) {
  Tensor both = backward_meta(grad, gate, up);
  const int64_t width = gate.size(1);
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kBFloat16, at::kHalf, gate.scalar_type(), "silu_mul_backward", [&] {
    const auto dy = const_rows_of<scalar_t>(grad), g = const_rows_of<scalar_t>(gate), u = const_rows_of<scalar_t>(up);
    const auto out = rows_of<scalar_t>(both);
    at::parallel_for(0, gate.size(0), row_grain(width), [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) backward_row(dy[t], g[t], u[t], out[t], out[t] + width, width);
    });
  });
  return both;
}

struct SiluMul : torch::autograd::Function<SiluMul> {
  static Tensor forward(torch::autograd::AutogradContext* context, const Tensor& any_gate, const Tensor& any_up) {
    static const auto forward = operation<Forward>("prentice::silu_mul_forward");
    const at::AutoDispatchBelowADInplaceOrView plain;
    const Tensor gate = with_dense_rows(any_gate), up = with_dense_rows(any_up);
    context->save_for_backward({gate, up});
    return forward.call(gate, up);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list grads) {
    static const auto backward = operation<Backward>("prentice::silu_mul_backward");
    const auto saved = context->get_saved_variables();
    const int64_t width = saved[0].size(1);
    const Tensor both = backward.call(with_dense_rows(grads[0]), saved[0], saved[1]);
    return {both.narrow(1, 0, width), both.narrow(1, width, width)};
  }
};

Tensor with_gradient(const Tensor& gate, const Tensor& up) { return SiluMul::apply(gate, up); }

}  // namespace

Tensor silu_mul_composite(const Tensor& gate, const Tensor& up) { return at::silu(gate) * up; }

Tensor silu_mul(const Tensor& gate, const Tensor& up) {
  static const auto product = operation<decltype(silu_mul)>("prentice::silu_mul");
  return product.call(gate, up);
}

}  // namespace prentice

TORCH_LIBRARY_FRAGMENT(prentice, library) {
  library.def("silu_mul(Tensor gate, Tensor up) -> Tensor", &prentice::silu_mul_composite);
  library.def("silu_mul_forward(Tensor gate, Tensor up) -> Tensor");
  library.def("silu_mul_backward(Tensor grad, Tensor gate, Tensor up) -> Tensor");
  prentice::implement(library, "silu_mul", &prentice::with_gradient);
  prentice::implement_pass(library, "silu_mul_forward", &prentice::forward_cpu, &prentice::forward_meta);
  prentice::implement_pass(library, "silu_mul_backward", &prentice::backward_cpu, &prentice::backward_meta);
}
