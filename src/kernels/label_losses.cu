#include "kernels/aligned_rows.h"
#include "kernels/device_type.h"
#include "kernels/label_losses_kernel.h"

namespace prentice {

namespace {

template <class W>
int launch(const LabelLossesLaunch& given, cudaStream_t stream) {
  const auto blocks = static_cast<unsigned>(given.rows);
  if (aligned_rows({{given.logits, given.width}}, given.width, kVector<W>)) {
    label_losses_kernel<W, kVector<W>><<<blocks, kVocabThreads, 0, stream>>>(given);
  } else {
    label_losses_kernel<W, 1><<<blocks, kVocabThreads, 0, stream>>>(given);
  }
  return cudaGetLastError();
}

}  // namespace

int launch_label_losses(const LabelLossesLaunch& given, CudaType type, void* stream) {
  if (given.rows == 0) return 0;
  const auto on = static_cast<cudaStream_t>(stream);
  if (type == CudaType::f32) return launch<float>(given, on);
  return type == CudaType::f64 ? launch<double>(given, on) : cudaErrorInvalidValue;
}

}  // namespace prentice
