// The CUDA form of prentice::dequantize_gguf: tensors to raw pointers.
#include <ATen/cuda/CUDAContext.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <torch/library.h>

#include "core/tensor.h"
#include "kernels/cuda_type_of.h"
#include "kernels/gguf_launch.h"

namespace prentice {

namespace {

void dequantize_cuda(const Tensor& bytes, int64_t type, const Tensor& out) {
  const c10::cuda::CUDAGuard guard(bytes.device());
  const Tensor dense = bytes.contiguous();
  const GgufLaunch launch{.bytes = dense.const_data_ptr<uint8_t>(),
                          .type = static_cast<uint32_t>(type),
                          .values = out.numel(),
                          .out = out.mutable_data_ptr()};
  C10_CUDA_CHECK(
      static_cast<cudaError_t>(launch_gguf(launch, cuda_type(out.scalar_type()), at::cuda::getCurrentCUDAStream())));
}

}  // namespace

}  // namespace prentice

TORCH_LIBRARY_IMPL(prentice, CUDA, library) { library.impl("dequantize_gguf", &prentice::dequantize_cuda); }
