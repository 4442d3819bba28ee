// The CUDA forms of RMSNorm's passes: tensors to raw pointers and back.
#include <ATen/cuda/CUDAContext.h>
#include <ATen/ops/empty.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <torch/library.h>

#include <algorithm>
#include <tuple>

#include "core/wide_type.h"
#include "kernels/cuda_type_of.h"
#include "kernels/rms_norm_launch.h"
#include "kernels/vector.h"

namespace prentice {

namespace {

void check(int error) { C10_CUDA_CHECK(static_cast<cudaError_t>(error)); }

// The result and 1 / rms of x, or of x + residual, which `sum` gets.
std::tuple<Tensor, Tensor> normalized(const Tensor& any, const Tensor& residual, const Tensor& weight, double eps,
                                      double offset, const Tensor& sum) {
  const Tensor x = with_dense_rows(any), by = weight.contiguous();
  Tensor y = at::empty(x.sizes(), x.options()), scales = at::empty({x.size(0)}, x.options().dtype(wide_type(x)));
  check(launch_rms_norm({.x = x.const_data_ptr(),
                         .weight = by.const_data_ptr(),
                         .rows = x.size(0),
                         .width = x.size(1),
                         .x_stride = x.stride(0),
                         .eps = eps,
                         .offset = offset,
                         .y = y.mutable_data_ptr(),
                         .scales = scales.mutable_data_ptr(),
                         .residual = residual.defined() ? residual.const_data_ptr() : nullptr,
                         .residual_stride = residual.defined() ? residual.stride(0) : 0,
                         .sum = sum.defined() ? sum.mutable_data_ptr() : nullptr},
                        cuda_type(x.scalar_type()), at::cuda::getCurrentCUDAStream()));
  return {y, scales};
}

std::tuple<Tensor, Tensor> forward_cuda(const Tensor& x, const Tensor& weight, double eps, double offset) {
  const c10::cuda::CUDAGuard guard(x.device());
  return normalized(x, Tensor(), weight, eps, offset, Tensor());
}

std::tuple<Tensor, Tensor, Tensor> add_forward_cuda(const Tensor& x, const Tensor& residual, const Tensor& weight,
                                                    double eps, double offset) {
  const c10::cuda::CUDAGuard guard(x.device());
  Tensor sum = at::empty(x.sizes(), x.options());
  const auto [y, scales] = normalized(x, with_dense_rows(residual), weight, eps, offset, sum);
  return {sum, y, scales};
}

// The gradient of what was normalised, which has the gradient `sum_grad` beside, if defined.
Tensor gradient(const Tensor& sum_grad, const Tensor& any_grad, const Tensor& any, const Tensor& weight,
                const Tensor& scales, double offset) {
  const c10::cuda::CUDAGuard guard(any.device());
  const Tensor grad = with_dense_rows(any_grad), x = with_dense_rows(any), by = weight.contiguous();
  Tensor dx = at::empty(x.sizes(), x.options());
  check(launch_rms_norm_backward({.grad = grad.const_data_ptr(),
                                  .x = x.const_data_ptr(),
                                  .weight = by.const_data_ptr(),
                                  .scales = scales.const_data_ptr(),
                                  .rows = x.size(0),
                                  .width = x.size(1),
                                  .grad_stride = grad.stride(0),
                                  .x_stride = x.stride(0),
                                  .offset = offset,
                                  .dx = dx.mutable_data_ptr(),
                                  .sum_grad = sum_grad.defined() ? sum_grad.const_data_ptr() : nullptr,
                                  .sum_grad_stride = sum_grad.defined() ? sum_grad.stride(0) : 0},
                                 cuda_type(x.scalar_type()), at::cuda::getCurrentCUDAStream()));
  return dx;
}

Tensor backward_cuda(const Tensor& grad, const Tensor& x, const Tensor& weight, const Tensor& scales, double offset) {
  return gradient(Tensor(), grad, x, weight, scales, offset);
}
Tensor add_backward_cuda(const Tensor& sum_grad, const Tensor& grad, const Tensor& sum, const Tensor& weight,
                         const Tensor& scales, double offset) {
  return gradient(with_dense_rows(sum_grad), grad, sum, weight, scales, offset);
}

// Slabs of at least kSlabRows rows, and no more than fill the device beside the tiles of columns.
Tensor weight_cuda(const Tensor& any_grad, const Tensor& any, const Tensor& scales) {
  constexpr int64_t kSlabRows = 32, kSlabs = 128;
  const c10::cuda::CUDAGuard guard(any.device());
  const Tensor grad = with_dense_rows(any_grad), x = with_dense_rows(any);
  const int64_t slabs = std::clamp<int64_t>(x.size(0) / kSlabRows, 1, kSlabs);
  Tensor partial = at::empty({slabs, x.size(1)}, scales.options()), dweight = at::empty({x.size(1)}, scales.options());
  check(launch_rms_norm_weight({.grad = grad.const_data_ptr(),
                                .x = x.const_data_ptr(),
                                .scales = scales.const_data_ptr(),
                                .rows = x.size(0),
                                .width = x.size(1),
                                .grad_stride = grad.stride(0),
                                .x_stride = x.stride(0),
                                .slabs = slabs,
                                .partial = partial.mutable_data_ptr(),
                                .dweight = dweight.mutable_data_ptr()},
                               cuda_type(x.scalar_type()), at::cuda::getCurrentCUDAStream()));
  return dweight;
}

}  // namespace

}  // namespace prentice

TORCH_LIBRARY_IMPL(prentice, CUDA, library) {
  library.impl("rms_norm_forward", &prentice::forward_cuda);
  library.impl("rms_norm_backward", &prentice::backward_cuda);
  library.impl("rms_norm_weight_backward", &prentice::weight_cuda);
  library.impl("add_rms_norm_forward", &prentice::add_forward_cuda);
  library.impl("add_rms_norm_backward", &prentice::add_backward_cuda);
}
