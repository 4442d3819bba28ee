#include "kernels/rms_norm.h"

#include <ATen/Dispatch.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/mean.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/rsqrt.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cmath>

#include "core/wide_type.h"
#include "kernels/operation.h"
#include "kernels/rms_norm_math.h"
#include "kernels/vector.h"

namespace prentice {

namespace {

template <class T>
PRENTICE_VECTORISED Wide<T> dot(const T* a, const T* b, int64_t width) {
  Wide<T> lanes[kLanes] = {};
  int64_t j = 0;
  for (; j + kLanes <= width; j += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      lanes[lane] += static_cast<Wide<T>>(a[j + lane]) * static_cast<Wide<T>>(b[j + lane]);
    }
  }
  for (; j < width; ++j) lanes[0] += static_cast<Wide<T>>(a[j]) * static_cast<Wide<T>>(b[j]);
  Wide<T> sum = 0;
  for (Wide<T> lane : lanes) sum += lane;
  return sum;
}

// sum of grad * (offset + weight) * x over a row
template <class T>
PRENTICE_VECTORISED Wide<T> weighted_dot(const T* grad, const T* weight, const T* x, Wide<T> offset, int64_t width) {
  Wide<T> lanes[kLanes] = {};
  int64_t j = 0;
  for (; j + kLanes <= width; j += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      const int64_t i = j + lane;
      lanes[lane] += rms_norm_pulled(grad[i], weight[i], x[i], offset);
    }
  }
  for (; j < width; ++j) lanes[0] += rms_norm_pulled(grad[j], weight[j], x[j], offset);
  Wide<T> sum = 0;
  for (Wide<T> lane : lanes) sum += lane;
  return sum;
}

template <bool kOffset, class T>
PRENTICE_VECTORISED void scale_row(const T* x, const T* weight, T* y, Wide<T> scale, Wide<T> offset, int64_t width) {
  for (int64_t j = 0; j < width; ++j) y[j] = rms_normed<kOffset>(x[j], weight[j], scale, offset);
}

template <class T>
PRENTICE_VECTORISED void grad_row(const T* grad, const T* weight, const T* x, T* dx, Wide<T> scale, Wide<T> offset,
                                  Wide<T> pull, int64_t width) {
  for (int64_t j = 0; j < width; ++j) dx[j] = rms_norm_gradient(grad[j], weight[j], x[j], scale, offset, pull);
}

using Forward = std::tuple<Tensor, Tensor>(const Tensor&, const Tensor&, double, double);
using Backward = Tensor(const Tensor&, const Tensor&, const Tensor&, const Tensor&, double);
using WeightBackward = Tensor(const Tensor&, const Tensor&, const Tensor&);

// The result and 1 / rms of each row [T], both still to be filled.
std::tuple<Tensor, Tensor> forward_meta(const Tensor& x, const Tensor&, double, double) {
  const auto wide = wide_type(x);
  return {at::empty_like(x, x.options(), at::MemoryFormat::Contiguous),
          at::empty({x.size(0)}, x.options().dtype(wide))};
}

std::tuple<Tensor, Tensor> forward_cpu(const Tensor& x, const Tensor& weight, double eps, double offset) {
  const auto results = forward_meta(x, weight, eps, offset);
  const auto& [y, scales] = results;
  const int64_t width = x.size(1);
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kBFloat16, at::kHalf, x.scalar_type(), "rms_norm", [&, &y = y, &scales = scales] {
    const auto in = const_rows_of<scalar_t>(x);
    const auto out = rows_of<scalar_t>(y);
    const auto* w = weight.const_data_ptr<scalar_t>();
    auto* scale = scales.template data_ptr<Wide<scalar_t>>();
    at::parallel_for(0, x.size(0), row_grain(width), [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        const auto mean_square = dot(in[t], in[t], width) / static_cast<Wide<scalar_t>>(width);
        scale[t] = 1 / std::sqrt(mean_square + static_cast<Wide<scalar_t>>(eps));
        const auto shift = static_cast<Wide<scalar_t>>(offset);
        if (offset == 0) {
          scale_row<false>(in[t], w, out[t], scale[t], shift, width);
        } else {
          scale_row<true>(in[t], w, out[t], scale[t], shift, width);
        }
      }
    });
  });
  return results;
}

Tensor backward_meta(const Tensor&, const Tensor& x, const Tensor&, const Tensor&, double) {
  return at::empty_like(x, x.options(), at::MemoryFormat::Contiguous);
}

// With r = 1 / rms: dx = r g - x r^3 (g . x) / D.
Tensor backward_cpu(const Tensor& grad, const Tensor& x, const Tensor& weight, const Tensor& scales, double offset) {
  Tensor dx = at::empty_like(x, x.options(), at::MemoryFormat::Contiguous);
  const int64_t width = x.size(1);
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kBFloat16, at::kHalf, x.scalar_type(), "rms_norm_backward", [&] {
    const auto g = const_rows_of<scalar_t>(grad);
    const auto in = const_rows_of<scalar_t>(x);
    const auto out = rows_of<scalar_t>(dx);
    const auto* w = weight.const_data_ptr<scalar_t>();
    const auto* scale = scales.const_data_ptr<Wide<scalar_t>>();
    const auto shift = static_cast<Wide<scalar_t>>(offset);
    at::parallel_for(0, x.size(0), row_grain(width), [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        const auto r = scale[t];
        const auto pull = r * r * r * weighted_dot(g[t], w, in[t], shift, width) / static_cast<Wide<scalar_t>>(width);
        grad_row(g[t], w, in[t], out[t], r, shift, pull, width);
      }
    });
  });
  return dx;
}

// [D] in the type of `scales`: a sum over all rows.
Tensor weight_backward(const Tensor& grad, const Tensor& x, const Tensor& scales) {
  const auto wide = scales.scalar_type();
  return (grad.to(wide) * x.to(wide) * scales.unsqueeze(1)).sum(0);
}

struct RmsNorm : torch::autograd::Function<RmsNorm> {
  static Tensor forward(torch::autograd::AutogradContext* context, const Tensor& x, const Tensor& weight, double eps,
                        double offset) {
    static const auto forward = operation<Forward>("prentice::rms_norm_forward");
    const at::AutoDispatchBelowADInplaceOrView plain;
    const Tensor rows = with_dense_rows(x), dense_weight = weight.to(x.scalar_type()).contiguous();
    const auto [y, scales] = forward.call(rows, dense_weight, eps, offset);
    context->save_for_backward({rows, dense_weight, scales});
    context->saved_data["offset"] = offset;
    context->saved_data["weight_type"] = weight.scalar_type();
    return y;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list grads) {
    const auto saved = context->get_saved_variables();
    const Tensor &x = saved[0], &weight = saved[1], &scales = saved[2];
    const Tensor grad = with_dense_rows(grads[0]);
    Tensor dx, dweight;
    if (context->needs_input_grad(0)) {
      static const auto backward = operation<Backward>("prentice::rms_norm_backward");
      dx = backward.call(grad, x, weight, scales, context->saved_data["offset"].toDouble());
    }
    if (context->needs_input_grad(1)) {
      static const auto of_weight = operation<WeightBackward>("prentice::rms_norm_weight_backward");
      dweight = of_weight.call(grad, x, scales).to(context->saved_data["weight_type"].toScalarType());
    }
    return {dx, dweight, Tensor(), Tensor()};
  }
};

Tensor with_gradient(const Tensor& x, const Tensor& weight, double eps, double offset) {
  return x.dim() == 2 ? RmsNorm::apply(x, weight, eps, offset) : rms_norm_composite(x, weight, eps, offset);
}

}  // namespace

Tensor rms_norm_composite(const Tensor& x, const Tensor& weight, double eps, double offset) {
  const auto wide = wide_type(x);
  const Tensor wide_x = x.to(wide);
  const Tensor normed = wide_x * at::rsqrt(at::mean(wide_x * wide_x, {-1}, /*keepdim=*/true) + eps);
  if (offset == 0) return weight.to(x.scalar_type()) * normed.to(x.scalar_type());
  return (normed * (weight.to(wide) + offset)).to(x.scalar_type());
}

Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps, double offset) {
  static const auto norm = operation<decltype(rms_norm)>("prentice::rms_norm");
  return norm.call(x, weight, eps, offset);
}

}  // namespace prentice

TORCH_LIBRARY_FRAGMENT(prentice, library) {
  library.def("rms_norm(Tensor x, Tensor weight, float eps, float offset) -> Tensor", &prentice::rms_norm_composite);
  library.def("rms_norm_forward(Tensor x, Tensor weight, float eps, float offset) -> (Tensor, Tensor)");
  library.def("rms_norm_backward(Tensor grad, Tensor x, Tensor weight, Tensor scales, float offset) -> Tensor");
  library.def("rms_norm_weight_backward(Tensor grad, Tensor x, Tensor scales) -> Tensor",
              torch::dispatch(c10::DispatchKey::CompositeExplicitAutograd, &prentice::weight_backward));
  prentice::implement_on_devices(library, "rms_norm", &prentice::with_gradient);
  prentice::implement_pass(library, "rms_norm_forward", &prentice::forward_cpu, &prentice::forward_meta);
  prentice::implement_pass(library, "rms_norm_backward", &prentice::backward_cpu, &prentice::backward_meta);
}
