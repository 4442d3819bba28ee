// The CUDA form of prentice::dropout: tensors to raw pointers and back.
#include <ATen/cuda/CUDAContext.h>
#include <ATen/ops/empty.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <torch/library.h>

#include "kernels/cuda_type_of.h"
#include "kernels/dropout_launch.h"
#include "kernels/vector.h"

namespace prentice {

namespace {

Tensor dropout_cuda(const Tensor& any, const Tensor& sample_key, const Tensor& sequence_id, const Tensor& positions,
                    int64_t seed, int64_t step, int64_t module, double rate) {
  const c10::cuda::CUDAGuard guard(any.device());
  const Tensor x = with_dense_rows(any);
  Tensor y = at::empty(x.sizes(), x.options());
  const DropoutLaunch launch{.x = x.const_data_ptr(),
                             .y = y.mutable_data_ptr(),
                             .sample_key = sample_key.const_data_ptr<int64_t>(),
                             .sequence_id = sequence_id.const_data_ptr<int32_t>(),
                             .positions = positions.const_data_ptr<int64_t>(),
                             .rows = x.size(0),
                             .columns = x.size(1),
                             .stride = x.stride(0),
                             .seed = static_cast<uint64_t>(seed),
                             .step = step,
                             .module = module,
                             .rate = rate};
  C10_CUDA_CHECK(
      static_cast<cudaError_t>(launch_dropout(launch, cuda_type(x.scalar_type()), at::cuda::getCurrentCUDAStream())));
  return y;
}

}  // namespace

}  // namespace prentice

TORCH_LIBRARY_IMPL(prentice, CUDA, library) { library.impl("dropout", &prentice::dropout_cuda); }
