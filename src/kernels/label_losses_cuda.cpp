// The CUDA form of prentice::label_losses: tensors to raw pointers and back.
#include <ATen/cuda/CUDAContext.h>
#include <ATen/ops/empty.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <torch/library.h>

#include "core/tensor.h"
#include "kernels/cuda_type_of.h"
#include "kernels/label_losses_launch.h"

namespace prentice {

namespace {

Tensor label_losses_cuda(const Tensor& any_labels, const Tensor& logits, bool gradients) {
  const c10::cuda::CUDAGuard guard(logits.device());
  TORCH_INTERNAL_ASSERT(logits.is_contiguous(), "logits are written in place");
  const Tensor labels = any_labels.contiguous();
  Tensor losses = at::empty({logits.size(0)}, logits.options());
  const LabelLossesLaunch launch{.labels = labels.const_data_ptr<int64_t>(),
                                 .logits = logits.mutable_data_ptr(),
                                 .rows = logits.size(0),
                                 .width = logits.size(1),
                                 .gradients = gradients,
                                 .losses = losses.mutable_data_ptr()};
  C10_CUDA_CHECK(static_cast<cudaError_t>(
      launch_label_losses(launch, cuda_type(logits.scalar_type()), at::cuda::getCurrentCUDAStream())));
  return losses;
}

}  // namespace

}  // namespace prentice

TORCH_LIBRARY_IMPL(prentice, CUDA, library) { library.impl("label_losses", &prentice::label_losses_cuda); }
