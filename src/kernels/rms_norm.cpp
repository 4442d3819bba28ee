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

template <class T>
PRENTICE_VECTORISED void sum_row(const T* x, const T* residual, T* sum, int64_t width) {
  for (int64_t j = 0; j < width; ++j) sum[j] = rounded_sum<Wide<T>>(x[j], residual[j]);
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

// The same where x has another gradient, `beside`.
template <class T>
PRENTICE_VECTORISED void grad_row_beside(const T* beside, const T* grad, const T* weight, const T* x, T* dx,
                                         Wide<T> scale, Wide<T> offset, Wide<T> pull, int64_t width) {
  for (int64_t j = 0; j < width; ++j) {
    dx[j] = rounded_sum<Wide<T>>(beside[j], rms_norm_gradient(grad[j], weight[j], x[j], scale, offset, pull));
  }
}

using Forward = std::tuple<Tensor, Tensor>(const Tensor&, const Tensor&, double, double);
using AddForward = std::tuple<Tensor, Tensor, Tensor>(const Tensor&, const Tensor&, const Tensor&, double, double);
using Backward = Tensor(const Tensor&, const Tensor&, const Tensor&, const Tensor&, double);
using AddBackward = Tensor(const Tensor&, const Tensor&, const Tensor&, const Tensor&, const Tensor&, double);
using WeightBackward = Tensor(const Tensor&, const Tensor&, const Tensor&);

// Like x, side by side and still to be filled.
Tensor unfilled(const Tensor& x) { return at::empty_like(x, x.options(), at::MemoryFormat::Contiguous); }

// The result and 1 / rms of each row [T], both still to be filled.
std::tuple<Tensor, Tensor> forward_meta(const Tensor& x, const Tensor&, double, double) {
  return {unfilled(x), at::empty({x.size(0)}, x.options().dtype(wide_type(x)))};
}

// Fills y and scales; row_of(t) makes and gives the row t that is normalised.
template <class T, class RowOf>
void normalize_rows(const RowOf& row_of, const Tensor& weight, double eps, double offset, const Tensor& y,
                    const Tensor& scales) {
  const int64_t width = y.size(1);
  const auto out = rows_of<T>(y);
  const auto* w = weight.const_data_ptr<T>();
  auto* scale = scales.data_ptr<Wide<T>>();
  at::parallel_for(0, y.size(0), row_grain(width), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const T* in = row_of(t);
      const auto mean_square = dot(in, in, width) / static_cast<Wide<T>>(width);
      scale[t] = 1 / std::sqrt(mean_square + static_cast<Wide<T>>(eps));
      const auto shift = static_cast<Wide<T>>(offset);
      if (offset == 0) {
        scale_row<false>(in, w, out[t], scale[t], shift, width);
      } else {
        scale_row<true>(in, w, out[t], scale[t], shift, width);
      }
    }
  });
}

std::tuple<Tensor, Tensor> forward_cpu(const Tensor& x, const Tensor& weight, double eps, double offset) {
  const auto [y, scales] = forward_meta(x, weight, eps, offset);
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kBFloat16, at::kHalf, x.scalar_type(), "rms_norm", [&, &y = y, &scales = scales] {
    const auto in = const_rows_of<scalar_t>(x);
    normalize_rows<scalar_t>([&](int64_t t) { return in[t]; }, weight, eps, offset, y, scales);
  });
  return {y, scales};
}

// The sum before them.
std::tuple<Tensor, Tensor, Tensor> add_forward_meta(const Tensor& x, const Tensor&, const Tensor& weight, double eps,
                                                    double offset) {
  const auto [y, scales] = forward_meta(x, weight, eps, offset);
  return {unfilled(x), y, scales};
}

std::tuple<Tensor, Tensor, Tensor> add_forward_cpu(const Tensor& x, const Tensor& residual, const Tensor& weight,
                                                   double eps, double offset) {
  const auto results = add_forward_meta(x, residual, weight, eps, offset);
  const Tensor &sum = std::get<0>(results), &y = std::get<1>(results), &scales = std::get<2>(results);
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kBFloat16, at::kHalf, x.scalar_type(), "add_rms_norm", [&] {
    const auto a = const_rows_of<scalar_t>(x), b = const_rows_of<scalar_t>(residual);
    const auto both = rows_of<scalar_t>(sum);
    const auto row_of = [&](int64_t t) {
      sum_row(a[t], b[t], both[t], x.size(1));
      return both[t];
    };
    normalize_rows<scalar_t>(row_of, weight, eps, offset, y, scales);
  });
  return results;
}

Tensor backward_meta(const Tensor&, const Tensor& x, const Tensor&, const Tensor&, double) { return unfilled(x); }
Tensor add_backward_meta(const Tensor&, const Tensor&, const Tensor& x, const Tensor&, const Tensor&, double) {
  return unfilled(x);
}

// With r = 1 / rms: dx = r g - x r^3 (g . x) / D, to which the gradient `beside`, if given, is added.
Tensor gradient_cpu(const Tensor* beside, const Tensor& grad, const Tensor& x, const Tensor& weight,
                    const Tensor& scales, double offset) {
  Tensor dx = unfilled(x);
  const int64_t width = x.size(1);
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kBFloat16, at::kHalf, x.scalar_type(), "rms_norm_backward", [&] {
    const auto g = const_rows_of<scalar_t>(grad), other = const_rows_of<scalar_t>(beside ? *beside : grad);
    const auto in = const_rows_of<scalar_t>(x);
    const auto out = rows_of<scalar_t>(dx);
    const auto* w = weight.const_data_ptr<scalar_t>();
    const auto* scale = scales.const_data_ptr<Wide<scalar_t>>();
    const auto shift = static_cast<Wide<scalar_t>>(offset);
    at::parallel_for(0, x.size(0), row_grain(width), [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        const auto r = scale[t];
        const auto pull = r * r * r * weighted_dot(g[t], w, in[t], shift, width) / static_cast<Wide<scalar_t>>(width);
        if (beside) {
          grad_row_beside(other[t], g[t], w, in[t], out[t], r, shift, pull, width);
        } else {
          grad_row(g[t], w, in[t], out[t], r, shift, pull, width);
        }
      }
    });
  });
  return dx;
}

Tensor backward_cpu(const Tensor& grad, const Tensor& x, const Tensor& weight, const Tensor& scales, double offset) {
  return gradient_cpu(nullptr, grad, x, weight, scales, offset);
}
Tensor add_backward_cpu(const Tensor& sum_grad, const Tensor& grad, const Tensor& sum, const Tensor& weight,
                        const Tensor& scales, double offset) {
  return gradient_cpu(&sum_grad, grad, sum, weight, scales, offset);
}

// [D] in the type of `scales`: a sum over all rows.
Tensor weight_backward(const Tensor& grad, const Tensor& x, const Tensor& scales) {
  const auto wide = scales.scalar_type();
  return (grad.to(wide) * x.to(wide) * scales.unsqueeze(1)).sum(0);
}

// What the backward pass takes from the forward pass: x is what was normalised.
void keep(torch::autograd::AutogradContext& context, const Tensor& x, const Tensor& dense_weight, const Tensor& scales,
          const Tensor& weight, double offset) {
  context.save_for_backward({x, dense_weight, scales});
  context.saved_data["offset"] = offset;
  context.saved_data["weight_type"] = weight.scalar_type();
}

Tensor gradient(torch::autograd::AutogradContext& context, const Tensor& grad) {
  static const auto backward = operation<Backward>("prentice::rms_norm_backward");
  const auto saved = context.get_saved_variables();
  return backward.call(with_dense_rows(grad), saved[0], saved[1], saved[2], context.saved_data["offset"].toDouble());
}

Tensor gradient_of_weight(torch::autograd::AutogradContext& context, const Tensor& grad) {
  static const auto of_weight = operation<WeightBackward>("prentice::rms_norm_weight_backward");
  const auto saved = context.get_saved_variables();
  return of_weight.call(with_dense_rows(grad), saved[0], saved[2]).to(context.saved_data["weight_type"].toScalarType());
}

struct RmsNorm : torch::autograd::Function<RmsNorm> {
  static Tensor forward(torch::autograd::AutogradContext* context, const Tensor& x, const Tensor& weight, double eps,
                        double offset) {
    static const auto forward = operation<Forward>("prentice::rms_norm_forward");
    const at::AutoDispatchBelowADInplaceOrView plain;
    const Tensor rows = with_dense_rows(x), dense_weight = weight.to(x.scalar_type()).contiguous();
    const auto [y, scales] = forward.call(rows, dense_weight, eps, offset);
    keep(*context, rows, dense_weight, scales, weight, offset);
    return y;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list grads) {
    Tensor dx, dweight;
    if (context->needs_input_grad(0)) dx = gradient(*context, grads[0]);
    if (context->needs_input_grad(1)) dweight = gradient_of_weight(*context, grads[0]);
    return {dx, dweight, Tensor(), Tensor()};
  }
};

struct AddRmsNorm : torch::autograd::Function<AddRmsNorm> {
  static torch::autograd::variable_list forward(torch::autograd::AutogradContext* context, const Tensor& x,
                                                const Tensor& residual, const Tensor& weight, double eps,
                                                double offset) {
    static const auto forward = operation<AddForward>("prentice::add_rms_norm_forward");
    const at::AutoDispatchBelowADInplaceOrView plain;
    const Tensor dense_weight = weight.to(x.scalar_type()).contiguous();
    const auto [sum, y, scales] =
        forward.call(with_dense_rows(x), with_dense_rows(residual), dense_weight, eps, offset);
    keep(*context, sum, dense_weight, scales, weight, offset);
    context->set_materialize_grads(false);
    return {sum, y};
  }

  // A result that is not used has no gradient.
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list grads) {
    Tensor both, dweight;
    const auto where_needed = [&](size_t input) { return context->needs_input_grad(input) ? both : Tensor(); };
    if (context->needs_input_grad(0) || context->needs_input_grad(1)) both = gradient_of_sum(*context, grads);
    if (context->needs_input_grad(2) && grads[1].defined()) dweight = gradient_of_weight(*context, grads[1]);
    return {where_needed(0), where_needed(1), dweight, Tensor(), Tensor()};
  }

  static Tensor gradient_of_sum(torch::autograd::AutogradContext& context,
                                const torch::autograd::variable_list& grads) {
    static const auto backward = operation<AddBackward>("prentice::add_rms_norm_backward");
    if (!grads[1].defined()) return grads[0];
    if (!grads[0].defined()) return gradient(context, grads[1]);
    const auto saved = context.get_saved_variables();
    return backward.call(with_dense_rows(grads[0]), with_dense_rows(grads[1]), saved[0], saved[1], saved[2],
                         context.saved_data["offset"].toDouble());
  }
};

Tensor with_gradient(const Tensor& x, const Tensor& weight, double eps, double offset) {
  return x.dim() == 2 ? RmsNorm::apply(x, weight, eps, offset) : rms_norm_composite(x, weight, eps, offset);
}

std::tuple<Tensor, Tensor> add_with_gradient(const Tensor& x, const Tensor& residual, const Tensor& weight, double eps,
                                             double offset) {
  const bool alike = x.sizes() == residual.sizes() && x.scalar_type() == residual.scalar_type();
  if (x.dim() != 2 || !alike) return add_rms_norm_composite(x, residual, weight, eps, offset);
  const auto made = AddRmsNorm::apply(x, residual, weight, eps, offset);
  return {made[0], made[1]};
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

std::tuple<Tensor, Tensor> add_rms_norm_composite(const Tensor& x, const Tensor& residual, const Tensor& weight,
                                                  double eps, double offset) {
  const Tensor sum = x + residual;
  return {sum, rms_norm_composite(sum, weight, eps, offset)};
}

std::tuple<Tensor, Tensor> add_rms_norm(const Tensor& x, const Tensor& residual, const Tensor& weight, double eps,
                                        double offset) {
  static const auto norm = operation<decltype(add_rms_norm)>("prentice::add_rms_norm");
  return norm.call(x, residual, weight, eps, offset);
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

  library.def("add_rms_norm(Tensor x, Tensor residual, Tensor weight, float eps, float offset) -> (Tensor, Tensor)",
              &prentice::add_rms_norm_composite);
  library.def(
      "add_rms_norm_forward(Tensor x, Tensor residual, Tensor weight, float eps, float offset) -> "
      "(Tensor, Tensor, Tensor)");
  library.def(
      "add_rms_norm_backward(Tensor sum_grad, Tensor grad, Tensor sum, Tensor weight, Tensor scales, float offset) -> "
      "Tensor");
  prentice::implement_on_devices(library, "add_rms_norm", &prentice::add_with_gradient);
  prentice::implement_pass(library, "add_rms_norm_forward", &prentice::add_forward_cpu, &prentice::add_forward_meta);
  prentice::implement_pass(library, "add_rms_norm_backward", &prentice::add_backward_cpu, &prentice::add_backward_meta);
}
