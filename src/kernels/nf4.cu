// One thread reads the codes of eight values, which share a scale, and writes the values: 4 bytes in, 16 out in bf16.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include "kernels/nf4_launch.h"

namespace prentice {

namespace {

constexpr int kThreads = 256, kValues = 8;

__constant__ float kTable[16] = {kNf4Values[0],  kNf4Values[1],  kNf4Values[2],  kNf4Values[3],
                                 kNf4Values[4],  kNf4Values[5],  kNf4Values[6],  kNf4Values[7],
                                 kNf4Values[8],  kNf4Values[9],  kNf4Values[10], kNf4Values[11],
                                 kNf4Values[12], kNf4Values[13], kNf4Values[14], kNf4Values[15]};

template <class T>
struct alignas(sizeof(T) * kValues > 16 ? 16 : sizeof(T) * kValues) Eight {
  T value[kValues];
};

template <class T>
__global__ void nf4_kernel(Nf4Launch given) {
  __shared__ float table[16];  // threads of a warp ask for different places, which constant memory serves in turn
  if (threadIdx.x < 16) table[threadIdx.x] = kTable[threadIdx.x];
  __syncthreads();
  const int64_t first = (blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x) * kValues;
  if (first >= given.count) return;
  const float scale = nf4_scale(given.scales, first / given.block);
  T* out = static_cast<T*>(given.out) + first;
  if (first + kValues <= given.count) {
    const uint32_t codes = *reinterpret_cast<const uint32_t*>(given.codes + first / 2);
    Eight<T> all;
#pragma unroll
    for (int k = 0; k < kValues; ++k) {
      const uint32_t byte = codes >> (8 * (k / 2));
      all.value[k] = T(table[(k % 2 == 0 ? byte >> 4 : byte) & 15] * scale);
    }
    *reinterpret_cast<Eight<T>*>(out) = all;
    return;
  }
  for (int k = 0; first + k < given.count; ++k) {
    const uint8_t byte = given.codes[(first + k) / 2];
    out[k] = T(table[(k % 2 == 0 ? byte >> 4 : byte) & 15] * scale);
  }
}

template <class T>
int launch(const Nf4Launch& given, cudaStream_t stream) {
  const int64_t threads = (given.count + kValues - 1) / kValues;
  if (threads == 0) return 0;
  nf4_kernel<T><<<static_cast<unsigned>((threads + kThreads - 1) / kThreads), kThreads, 0, stream>>>(given);
  return cudaGetLastError();
}

}  // namespace

int launch_nf4(const Nf4Launch& given, CudaType type, void* stream) {
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
