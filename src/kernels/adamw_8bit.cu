// A warp moves a block of 256 values, eight a lane: their largest magnitude is found without leaving the warp. The maps
// lie in shared memory, where every lane searches its own place.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include "kernels/adamw_8bit_launch.h"

namespace prentice {

namespace {

constexpr int kLanes = 32, kWarps = 8, kValues = static_cast<int>(kDynamicBlock) / kLanes;
constexpr int64_t kMostBlocks = 4096;  // of threads; each then takes several blocks of values

template <class T>
struct WideOf {
  using Type = float;
};
template <>
struct WideOf<double> {
  using Type = double;
};

// Value k of a lane; neighbours read neighbours.
__device__ int64_t place(int64_t block, int k, int lane) { return block * kDynamicBlock + k * kLanes + lane; }

__device__ void store(const Adamw8BitLaunch::Moment& moment, const float* map, const float* values, int64_t block,
                      int lane, int64_t count) {
  float most = 0;
#pragma unroll
  for (int k = 0; k < kValues; ++k) most = fmaxf(most, fabsf(values[k]));
  for (int step = kLanes / 2; step > 0; step /= 2) most = fmaxf(most, __shfl_xor_sync(0xffffffff, most, step));
  if (lane == 0) moment.absmax[block] = most;
  const float inverse = __fdiv_rn(1.0f, most);
#pragma unroll
  for (int k = 0; k < kValues; ++k) {
    const int64_t at = place(block, k, lane);
    if (at < count) moment.codes[at] = dynamic_code(map, times(values[k], inverse));
  }
}

template <class T>
__global__ void adamw_8bit_kernel(Adamw8BitLaunch given) {
  using Wide = typename WideOf<T>::Type;
  __shared__ float first_map[256], second_map[256];
  if (*given.skip != 0) return;
  first_map[threadIdx.x] = given.first.map[threadIdx.x];
  second_map[threadIdx.x] = given.second.map[threadIdx.x];
  __syncthreads();
  const AdamwStep step = *given.step;
  const int lane = threadIdx.x % kLanes;
  const int64_t blocks = (given.count + kDynamicBlock - 1) / kDynamicBlock;
  for (int64_t block = blockIdx.x * int64_t{kWarps} + threadIdx.x / kLanes; block < blocks;
       block += int64_t{kWarps} * gridDim.x) {
    const float first_scale = given.first.absmax[block], second_scale = given.second.absmax[block];
    float first[kValues], second[kValues];
#pragma unroll
    for (int k = 0; k < kValues; ++k) {
      const int64_t at = place(block, k, lane);
      first[k] = second[k] = 0;
      if (at >= given.count) continue;
      const float g = static_cast<float>(static_cast<const T*>(given.gradient)[at]);
      T& weight = static_cast<T*>(given.weight)[at];
      first[k] = first_moment(given.by, times(first_map[given.first.codes[at]], first_scale), g);
      second[k] = second_moment(given.by, times(second_map[given.second.codes[at]], second_scale), g);
      weight = T(moved<Wide>(given.by, step, static_cast<Wide>(weight), first[k], second[k]));
    }
    __syncwarp();  // lane 0 writes the scales that the others have just read
    store(given.first, first_map, first, block, lane, given.count);
    store(given.second, second_map, second, block, lane, given.count);
  }
}

template <class T>
int launch(const Adamw8BitLaunch& given, cudaStream_t stream) {
  constexpr int64_t kOfThreads = int64_t{kWarps} * kDynamicBlock;
  const int64_t wanted = (given.count + kOfThreads - 1) / kOfThreads;
  if (wanted == 0) return 0;
  const auto grid = static_cast<unsigned>(wanted < kMostBlocks ? wanted : kMostBlocks);
  adamw_8bit_kernel<T><<<grid, kWarps * kLanes, 0, stream>>>(given);
  return cudaGetLastError();
}

}  // namespace

int launch_adamw_8bit(const Adamw8BitLaunch& given, CudaType type, void* stream) {
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
