// One thread draws the words of four features, as the CPU loop does (kernels/dropout_mask.h), and writes them.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include "kernels/dropout_launch.h"
#include "kernels/dropout_mask.h"

namespace prentice {

namespace {

template <class T>
struct WideOf {
  using Type = float;
};
template <>
struct WideOf<double> {
  using Type = double;
};

template <class T>
__global__ void dropout_kernel(DropoutLaunch launch, uint32_t threshold) {
  using Wide = typename WideOf<T>::Type;
  const int64_t blocks = (launch.columns + 3) / 4;
  const int64_t index = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x;
  if (index >= launch.rows * blocks) return;
  const int64_t row = index / blocks, block = index % blocks;
  const PhiloxWords stream =
      dropout_stream(launch.seed, launch.step, launch.module, launch.sample_key[launch.sequence_id[row]]);
  const PhiloxWords words = dropout_words(stream, launch.positions[row], block);
  const T* x = static_cast<const T*>(launch.x) + row * launch.stride;
  T* y = static_cast<T*>(launch.y) + row * launch.columns;
  const Wide scale = static_cast<Wide>(1 / (1 - launch.rate));
  for (int64_t k = 0; k < 4; ++k) {
    const int64_t j = 4 * block + k;
    if (j < launch.columns) y[j] = words.word[k] < threshold ? T(0.0f) : T(static_cast<Wide>(x[j]) * scale);
  }
}

template <class T>
int launch(const DropoutLaunch& given, cudaStream_t stream) {
  constexpr int kThreads = 256;
  const int64_t threads = given.rows * ((given.columns + 3) / 4);
  if (threads == 0) return 0;
  dropout_kernel<T><<<static_cast<unsigned>((threads + kThreads - 1) / kThreads), kThreads, 0, stream>>>(
      given, dropout_threshold(given.rate));
  return cudaGetLastError();
}

}  // namespace

int launch_dropout(const DropoutLaunch& given, CudaType type, void* stream) {
  const auto on = static_cast<cudaStream_t>(stream);
  switch (type) {
    case CudaType::f32:
      return launch<float>(given, on);
    case CudaType::f64:
      return launch<double>(given, on);
    case CudaType::f16:
      return launch<__half>(given, on);
    case CudaType::bf16:
      return launch<__nv_bfloat16>(given, on);
  }
  return cudaErrorInvalidValue;
}

}  // namespace prentice
