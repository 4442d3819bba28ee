// The CUDA forms of the passes of prentice::gated: tensors to raw pointers and back.
#include <ATen/cuda/CUDAContext.h>
#include <ATen/ops/empty.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <torch/library.h>

#include "kernels/cuda_type_of.h"
#include "kernels/gated_launch.h"
#include "kernels/vector.h"

namespace prentice {

namespace {

Tensor forward_cuda(const Tensor& any_gate, const Tensor& any_up, int64_t kind) {
  const c10::cuda::CUDAGuard guard(any_gate.device());
  const Tensor gate = with_dense_rows(any_gate), up = with_dense_rows(any_up);
  Tensor y = at::empty(gate.sizes(), gate.options());
  C10_CUDA_CHECK(static_cast<cudaError_t>(launch_gated({.gate = gate.const_data_ptr(),
                                                        .up = up.const_data_ptr(),
                                                        .rows = gate.size(0),
                                                        .width = gate.size(1),
                                                        .gate_stride = gate.stride(0),
                                                        .up_stride = up.stride(0),
                                                        .y = y.mutable_data_ptr()},
                                                       static_cast<Gate>(kind), cuda_type(gate.scalar_type()),
                                                       at::cuda::getCurrentCUDAStream())));
  return y;
}

Tensor backward_cuda(const Tensor& any_grad, const Tensor& any_gate, const Tensor& any_up, int64_t kind) {
  const c10::cuda::CUDAGuard guard(any_gate.device());
  const Tensor grad = with_dense_rows(any_grad), gate = with_dense_rows(any_gate), up = with_dense_rows(any_up);
  Tensor both = at::empty({gate.size(0), 2 * gate.size(1)}, gate.options());
  C10_CUDA_CHECK(static_cast<cudaError_t>(launch_gated_backward({.grad = grad.const_data_ptr(),
                                                                 .gate = gate.const_data_ptr(),
                                                                 .up = up.const_data_ptr(),
                                                                 .rows = gate.size(0),
                                                                 .width = gate.size(1),
                                                                 .grad_stride = grad.stride(0),
                                                                 .gate_stride = gate.stride(0),
                                                                 .up_stride = up.stride(0),
                                                                 .both = both.mutable_data_ptr()},
                                                                static_cast<Gate>(kind), cuda_type(gate.scalar_type()),
                                                                at::cuda::getCurrentCUDAStream())));
  return both;
}

}  // namespace

}  // namespace prentice

TORCH_LIBRARY_IMPL(prentice, CUDA, library) {
  library.impl("gated_forward", &prentice::forward_cuda);
  library.impl("gated_backward", &prentice::backward_cuda);
}
