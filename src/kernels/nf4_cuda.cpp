// The CUDA form of prentice::dequantize_nf4: tensors to raw pointers.
#include <ATen/cuda/CUDAContext.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <torch/library.h>

#include <optional>

#include "core/tensor.h"
#include "kernels/cuda_type_of.h"
#include "kernels/nf4_launch.h"

namespace prentice {

namespace {

void dequantize_cuda(const Tensor& codes, const Tensor& absmax, const std::optional<Tensor>& nested_absmax,
                     double offset, int64_t block, const Tensor& map, const Tensor& out) {
  const c10::cuda::CUDAGuard guard(codes.device());
  Nf4Launch launch{.codes = codes.const_data_ptr<uint8_t>(),
                   .scales = {},
                   .block = block,
                   .count = out.numel(),
                   .out = out.mutable_data_ptr()};
  if (nested_absmax) {
    launch.scales = {.code = absmax.const_data_ptr<uint8_t>(),
                     .nested = nested_absmax->const_data_ptr<float>(),
                     .map = map.const_data_ptr<float>(),
                     .offset = static_cast<float>(offset)};
  } else {
    launch.scales.plain = absmax.const_data_ptr<float>();
  }
  C10_CUDA_CHECK(
      static_cast<cudaError_t>(launch_nf4(launch, cuda_type(out.scalar_type()), at::cuda::getCurrentCUDAStream())));
}

}  // namespace

}  // namespace prentice

TORCH_LIBRARY_IMPL(prentice, CUDA, library) { library.impl("dequantize_nf4", &prentice::dequantize_cuda); }
