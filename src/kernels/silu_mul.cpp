#include "kernels/silu_mul.h"

#include <ATen/Dispatch.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/silu.h>
#include <torch/csrc/autograd/custom_function.h>

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

struct SiluMul : torch::autograd::Function<SiluMul> {
  static Tensor forward(torch::autograd::AutogradContext* context, const Tensor& any_gate, const Tensor& any_up) {
    const Tensor gate = with_dense_rows(any_gate), up = with_dense_rows(any_up);
    context->save_for_backward({gate, up});
    const int64_t width = gate.size(1);
    Tensor y = at::empty(gate.sizes(), gate.options());
    AT_DISPATCH_FLOATING_TYPES_AND2(at::kBFloat16, at::kHalf, gate.scalar_type(), "silu_mul", [&] {
      const auto g = const_rows_of<scalar_t>(gate), u = const_rows_of<scalar_t>(up);
      const auto out = rows_of<scalar_t>(y);
      at::parallel_for(0, gate.size(0), row_grain(width), [&](int64_t begin, int64_t end) {
        for (int64_t t = begin; t < end; ++t) forward_row(g[t], u[t], out[t], width);
      });
    });
    return y;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list grads) {
    const auto saved = context->get_saved_variables();
    const Tensor &gate = saved[0], &up = saved[1];
    const Tensor grad = with_dense_rows(grads[0]);
    const int64_t width = gate.size(1);
    Tensor both = at::empty({gate.size(0), 2 * width}, gate.options());
    AT_DISPATCH_FLOATING_TYPES_AND2(at::kBFloat16, at::kHalf, gate.scalar_type(), "silu_mul_backward", [&] {
      const auto dy = const_rows_of<scalar_t>(grad), g = const_rows_of<scalar_t>(gate), u = const_rows_of<scalar_t>(up);
      const auto out = rows_of<scalar_t>(both);
      at::parallel_for(0, gate.size(0), row_grain(width), [&](int64_t begin, int64_t end) {
        for (int64_t t = begin; t < end; ++t) backward_row(dy[t], g[t], u[t], out[t], out[t] + width, width);
      });
    });
    return {both.narrow(1, 0, width), both.narrow(1, width, width)};
  }
};

}  // namespace

Tensor silu_mul_composite(const Tensor& gate, const Tensor& up) { return at::silu(gate) * up; }

Tensor silu_mul(const Tensor& gate, const Tensor& up) {
  if (!gate.is_cpu()) return silu_mul_composite(gate, up);
  return SiluMul::apply(gate, up);
}

}  // namespace prentice
