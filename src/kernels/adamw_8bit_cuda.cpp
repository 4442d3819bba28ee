// The CUDA form of prentice::adamw_8bit: tensors to raw pointers.
#include <ATen/cuda/CUDAContext.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <torch/library.h>

#include "core/tensor.h"
#include "kernels/adamw_8bit_launch.h"
#include "kernels/cuda_type_of.h"

namespace prentice {

namespace {

void move_cuda(const Tensor& weight, const Tensor& gradient, const Tensor& first, const Tensor& first_absmax,
               const Tensor& second, const Tensor& second_absmax, const Tensor& first_map, const Tensor& second_map,
               const Tensor& step, const Tensor& skip, double beta1, double beta2, double eps) {
  const c10::cuda::CUDAGuard guard(weight.device());
  const auto moment = [](const Tensor& codes, const Tensor& absmax, const Tensor& map) {
    return Adamw8BitLaunch::Moment{.codes = codes.mutable_data_ptr<uint8_t>(),
                                   .absmax = absmax.mutable_data_ptr<float>(),
                                   .map = map.const_data_ptr<float>()};
  };
  const Adamw8BitLaunch launch{
      .weight = weight.mutable_data_ptr(),
      .gradient = gradient.const_data_ptr(),
      .count = weight.numel(),
      .first = moment(first, first_absmax, first_map),
      .second = moment(second, second_absmax, second_map),
      .step = reinterpret_cast<const AdamwStep*>(step.const_data_ptr<float>()),
      .skip = skip.const_data_ptr<float>(),
      .by = {static_cast<float>(beta1), static_cast<float>(1 - beta1), static_cast<float>(beta2),
             static_cast<float>(1 - beta2), static_cast<float>(eps)}};
  C10_CUDA_CHECK(static_cast<cudaError_t>(
      launch_adamw_8bit(launch, cuda_type(weight.scalar_type()), at::cuda::getCurrentCUDAStream())));
}

}  // namespace

}  // namespace prentice

TORCH_LIBRARY_IMPL(prentice, CUDA, library) { library.impl("adamw_8bit", &prentice::move_cuda); }
