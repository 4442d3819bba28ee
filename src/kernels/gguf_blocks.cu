// One thread makes one value from its block: neighbours read the same block, which the first of them brings in. Layouts
// are those of ggml-common.h, as in src/quant.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include "kernels/gguf_launch.h"

namespace prentice {

namespace {

constexpr int kThreads = 256;

__device__ float half_at(const uint8_t* at) {
  return __half2float(__ushort_as_half(static_cast<unsigned short>(at[0] | at[1] << 8)));
}

// Two roundings, as on the CPU: the product is not fused into the sum.
__device__ float value_of(float scale, int code, float minimum) {
  return __fadd_rn(__fmul_rn(scale, static_cast<float>(code)), -minimum);
}

// Each type: values and bytes of a block, and value i of one.
struct Q8_0 {
  static constexpr int kValues = 32, kBytes = 34;
  __device__ static float value(const uint8_t* block, int i) {
    return value_of(half_at(block), static_cast<int8_t>(block[2 + i]), 0);
  }
};

__device__ int nibble(const uint8_t* low, int i) { return low[i % 16] >> i / 16 * 4 & 15; }
__device__ int bit(const uint8_t* high, int i) { return high[i / 8] >> i % 8 & 1; }

struct Q4_0 {
  static constexpr int kValues = 32, kBytes = 18;
  __device__ static float value(const uint8_t* block, int i) {
    return value_of(half_at(block), nibble(block + 2, i) - 8, 0);
  }
};
struct Q4_1 {
  static constexpr int kValues = 32, kBytes = 20;
  __device__ static float value(const uint8_t* block, int i) {
    return value_of(half_at(block), nibble(block + 4, i), -half_at(block + 2));
  }
};
struct Q5_0 {
  static constexpr int kValues = 32, kBytes = 22;
  __device__ static float value(const uint8_t* block, int i) {
    return value_of(half_at(block), (nibble(block + 6, i) | bit(block + 2, i) << 4) - 16, 0);
  }
};
struct Q5_1 {
  static constexpr int kValues = 32, kBytes = 24;
  __device__ static float value(const uint8_t* block, int i) {
    return value_of(half_at(block), nibble(block + 8, i) | bit(block + 4, i) << 4, -half_at(block + 2));
  }
};

// Two bits of each of four values in a byte, of each 128.
__device__ int two_bits(const uint8_t* low, int i) { return low[i / 128 * 32 + i % 32] >> i % 128 / 32 * 2 & 3; }

struct Q2_K {
  static constexpr int kValues = 256, kBytes = 84;
  __device__ static float value(const uint8_t* block, int i) {
    const int codes = block[i / 16];
    const float scale = __fmul_rn(half_at(block + 80), static_cast<float>(codes & 15));
    return value_of(scale, two_bits(block + 16, i), __fmul_rn(half_at(block + 82), static_cast<float>(codes >> 4)));
  }
};
struct Q3_K {
  static constexpr int kValues = 256, kBytes = 110;
  __device__ static float value(const uint8_t* block, int i) {
    const uint8_t* scales = block + 96;
    const int g = i / 16, low = scales[g % 8] >> g / 8 * 4 & 15;
    const int signed_scale = (low | (scales[8 + g % 4] >> g / 4 * 2 & 3) << 4) - 32;
    const int code = two_bits(block + 32, i) + 4 * (block[i % 32] >> i / 32 & 1) - 4;
    return value_of(__fmul_rn(half_at(block + 108), static_cast<float>(signed_scale)), code, 0);
  }
};

// Scale and minimum of group g in the twelve bytes of Q4_K and Q5_K.
__device__ float2 steps(const uint8_t* block, int g) {
  const uint8_t* packed = block + 4;
  const int scale = g < 4 ? packed[g] & 63 : (packed[g + 4] & 15) | (packed[g - 4] >> 6) << 4;
  const int minimum = g < 4 ? packed[g + 4] & 63 : (packed[g + 4] >> 4) | (packed[g] >> 6) << 4;
  return {__fmul_rn(half_at(block), static_cast<float>(scale)),
          __fmul_rn(half_at(block + 2), static_cast<float>(minimum))};
}
__device__ int k_nibble(const uint8_t* low, int i) { return low[i / 64 * 32 + i % 32] >> i % 64 / 32 * 4 & 15; }

struct Q4_K {
  static constexpr int kValues = 256, kBytes = 144;
  __device__ static float value(const uint8_t* block, int i) {
    const float2 step = steps(block, i / 32);
    return value_of(step.x, k_nibble(block + 16, i), step.y);
  }
};
struct Q5_K {
  static constexpr int kValues = 256, kBytes = 176;
  __device__ static float value(const uint8_t* block, int i) {
    const float2 step = steps(block, i / 32);
    const int fifth = block[16 + i % 32] >> i / 32 & 1;
    return value_of(step.x, k_nibble(block + 48, i) | fifth << 4, step.y);
  }
};
struct Q6_K {
  static constexpr int kValues = 256, kBytes = 210;
  __device__ static float value(const uint8_t* block, int i) {
    const int half = i / 128, l = i % 128;
    const int low = block[half * 64 + l % 64] >> l / 64 * 4 & 15;
    const int high = block[128 + half * 32 + l % 32] >> l / 32 * 2 & 3;
    const float scale = __fmul_rn(half_at(block + 208), static_cast<float>(static_cast<int8_t>(block[192 + i / 16])));
    return value_of(scale, (low | high << 4) - 32, 0);
  }
};

template <class Type, class T>
__global__ void gguf_kernel(const uint8_t* bytes, int64_t values, T* out) {
  const int64_t at = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x;
  if (at >= values) return;
  out[at] = T(Type::value(bytes + at / Type::kValues * Type::kBytes, static_cast<int>(at % Type::kValues)));
}

template <class Type, class T>
int launch(const GgufLaunch& given, cudaStream_t stream) {
  if (given.values == 0) return 0;
  const auto grid = static_cast<unsigned>((given.values + kThreads - 1) / kThreads);
  gguf_kernel<Type, T><<<grid, kThreads, 0, stream>>>(given.bytes, given.values, static_cast<T*>(given.out));
  return cudaGetLastError();
}

template <class Type>
int launch(const GgufLaunch& given, CudaType type, cudaStream_t stream) {
  switch (type) {
    case CudaType::f32:
      return launch<Type, float>(given, stream);
    case CudaType::f64:
      return launch<Type, double>(given, stream);
    case CudaType::f16:
      return launch<Type, __half>(given, stream);
    case CudaType::bf16:
      return launch<Type, __nv_bfloat16>(given, stream);
  }
  return cudaErrorInvalidValue;
}

}  // namespace

int launch_gguf(const GgufLaunch& given, CudaType type, void* stream) {
  const auto on = static_cast<cudaStream_t>(stream);
  switch (given.type) {  // the numbers of GgmlType
    case 2:
      return launch<Q4_0>(given, type, on);
    case 3:
      return launch<Q4_1>(given, type, on);
    case 6:
      return launch<Q5_0>(given, type, on);
    case 7:
      return launch<Q5_1>(given, type, on);
    case 8:
      return launch<Q8_0>(given, type, on);
    case 10:
      return launch<Q2_K>(given, type, on);
    case 11:
      return launch<Q3_K>(given, type, on);
    case 12:
      return launch<Q4_K>(given, type, on);
    case 13:
      return launch<Q5_K>(given, type, on);
    case 14:
      return launch<Q6_K>(given, type, on);
    default:
      return cudaErrorInvalidValue;
  }
}

}  // namespace prentice
