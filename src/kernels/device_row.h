// What the CUDA kernels over rows share: accesses of 16 bytes, and reductions over the threads of a row in a fixed
// order. CUDA C++ without the headers of a library, so that tests/kernels/cuda_emulator.h runs the same text on a host.
#pragma once

#include <cstdint>

namespace prentice {

// f64 computes in f64, every other type in f32.
template <class T>
struct DeviceWideOf {
  using Type = float;
};
template <>
struct DeviceWideOf<double> {
  using Type = double;
};
template <class T>
using DeviceWide = typename DeviceWideOf<T>::Type;

// kN values that one access moves.
template <class T, int kN>
struct alignas(sizeof(T) * kN) Vector {
  T at[kN];
};
template <class T>
inline constexpr int kVector = 16 / sizeof(T);

// Row `row` of a matrix whose rows are `stride` elements apart, as vectors.
template <int kN, class T>
__device__ const Vector<T, kN>* vectors_of(const T* data, int64_t row, int64_t stride) {
  return reinterpret_cast<const Vector<T, kN>*>(data + row * stride);
}
template <int kN, class T>
__device__ Vector<T, kN>* vectors_of(T* data, int64_t row, int64_t stride) {
  return reinterpret_cast<Vector<T, kN>*>(data + row * stride);
}

// Threads of a block of the kernels over rows.
inline constexpr int kRowThreads = 256;

struct Add {
  template <class W>
  __device__ W operator()(W a, W b) const {
    return a + b;
  }
};
struct Larger {
  template <class W>
  __device__ W operator()(W a, W b) const {
    return a > b ? a : b;
  }
};

// `value` of the kGroup threads of a row, joined in an order that depends on nothing else; each of them gets the
// result. A group is a part of a warp, or the whole block; every thread of the block must call it.
template <int kGroup, class Join, class W>
__device__ W joined_over_group(W value, Join join) {
  constexpr int kLanes = kGroup < 32 ? kGroup : 32;
#pragma unroll
  for (int offset = kLanes / 2; offset > 0; offset /= 2) {
    value = join(value, __shfl_xor_sync(0xffffffffu, value, offset));
  }
  if constexpr (kGroup > 32) {
    __shared__ W of_warps[kGroup / 32];
    __syncthreads();  // nobody reads the last call's any more
    if (threadIdx.x % 32 == 0) of_warps[threadIdx.x / 32] = value;
    __syncthreads();
    value = of_warps[0];
#pragma unroll
    for (int warp = 1; warp < kGroup / 32; ++warp) value = join(value, of_warps[warp]);
  }
  return value;
}

}  // namespace prentice
