// The CUDA form of the pass behind rotate() and rotate_in_place(): tensors to raw pointers and back.
#include <ATen/cuda/CUDAContext.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <torch/library.h>

#include "kernels/cuda_type_of.h"
#include "kernels/rope_launch.h"
#include "kernels/vector.h"

namespace prentice {

namespace {

void turn_cuda(const Tensor& any, const Tensor& any_cosine, const Tensor& any_sine, double direction, const Tensor& y) {
  const c10::cuda::CUDAGuard guard(any.device());
  const Tensor x = with_dense_rows(any), cosine = with_dense_rows(any_cosine), sine = with_dense_rows(any_sine);
  const RopeLaunch launch{.x = x.const_data_ptr(),
                          .cosine = cosine.const_data_ptr(),
                          .sine = sine.const_data_ptr(),
                          .tokens = x.size(0),
                          .heads = x.size(1),
                          .width = x.size(2),
                          .half = cosine.size(1),
                          .x_stride = x.stride(0),
                          .cosine_stride = cosine.stride(0),
                          .sine_stride = sine.stride(0),
                          .direction = direction,
                          .y = y.mutable_data_ptr(),
                          .y_stride = y.stride(0)};
  C10_CUDA_CHECK(
      static_cast<cudaError_t>(launch_rope(launch, cuda_type(x.scalar_type()), at::cuda::getCurrentCUDAStream())));
}

}  // namespace

}  // namespace prentice

TORCH_LIBRARY_IMPL(prentice, CUDA, library) { library.impl("rotate_into", &prentice::turn_cuda); }
