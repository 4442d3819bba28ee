// RMSNorm's CUDA kernels. kGroup threads have a row: a part of a warp where rows are short (heads), else the block.
// What a thread has read of it once stays in registers for the second pass, up to kKept vectors.
#pragma once

#include <cmath>

#include "kernels/device_row.h"
#include "kernels/rms_norm_launch.h"
#include "kernels/rms_norm_math.h"

namespace prentice {

inline constexpr int kKept = 4;

// Calls use(k, i) for the vectors i of a row that this thread has: k below kKept for those it keeps, else kKept.
template <int kGroup, class Use>
__device__ void each_vector(int64_t vectors, Use&& use) {
  const int lane = threadIdx.x % kGroup;
#pragma unroll
  for (int k = 0; k < kKept; ++k) {
    const int64_t i = lane + int64_t{k} * kGroup;
    if (i < vectors) use(k, i);
  }
  for (int64_t i = lane + int64_t{kKept} * kGroup; i < vectors; i += kGroup) use(kKept, i);
}

// The row of this thread's group. Threads behind the last row work on none and still take part in reductions.
template <int kGroup>
__device__ int64_t group_row() {
  return blockIdx.x * int64_t{kRowThreads / kGroup} + threadIdx.x / kGroup;
}

// a += b
template <class T, int kN>
__device__ void add_to(Vector<T, kN>& a, const Vector<T, kN>& b) {
#pragma unroll
  for (int j = 0; j < kN; ++j) a.at[j] = rounded_sum<DeviceWide<T>>(a.at[j], b.at[j]);
}

template <class T, bool kOffset, bool kAdds, int kGroup, int kN>
__global__ void rms_norm_kernel(RmsNormLaunch given) {
  using W = DeviceWide<T>;
  const int64_t row = group_row<kGroup>(), vectors = row < given.rows ? given.width / kN : 0;
  const int64_t read = vectors > 0 ? row : 0;
  const auto* x = vectors_of<kN>(static_cast<const T*>(given.x), read, given.x_stride);
  const auto* residual = vectors_of<kN>(static_cast<const T*>(given.residual), read, given.residual_stride);
  const auto loaded = [&](int64_t i) {
    Vector<T, kN> value = x[i];
    if constexpr (kAdds) add_to(value, residual[i]);
    return value;
  };
  const auto* weight = vectors_of<kN>(static_cast<const T*>(given.weight), 0, 0);
  Vector<T, kN> kept[kKept];
  W squares = 0;
  each_vector<kGroup>(vectors, [&](int k, int64_t i) {
    const Vector<T, kN> value = loaded(i);
    if (k < kKept) kept[k] = value;
#pragma unroll
    for (int j = 0; j < kN; ++j) squares += static_cast<W>(value.at[j]) * static_cast<W>(value.at[j]);
  });
  squares = joined_over_group<kGroup>(squares, Add());
  if (vectors == 0) return;
  const W scale = 1 / std::sqrt(squares / static_cast<W>(given.width) + static_cast<W>(given.eps));
  const W offset = static_cast<W>(given.offset);
  auto* y = vectors_of<kN>(static_cast<T*>(given.y), row, given.width);
  auto* sum = vectors_of<kN>(static_cast<T*>(given.sum), row, kAdds ? given.width : 0);
  each_vector<kGroup>(vectors, [&](int k, int64_t i) {
    Vector<T, kN> value = k < kKept ? kept[k < kKept ? k : 0] : loaded(i);
    const Vector<T, kN> by = weight[i];
    if constexpr (kAdds) sum[i] = value;
#pragma unroll
    for (int j = 0; j < kN; ++j) value.at[j] = rms_normed<kOffset>(value.at[j], by.at[j], scale, offset);
    y[i] = value;
  });
  if (threadIdx.x % kGroup == 0) static_cast<W*>(given.scales)[row] = scale;
}

template <class T, bool kAdds, int kGroup, int kN>
__global__ void rms_norm_backward_kernel(RmsNormBackwardLaunch given) {
  using W = DeviceWide<T>;
  const int64_t row = group_row<kGroup>(), vectors = row < given.rows ? given.width / kN : 0;
  const int64_t read = vectors > 0 ? row : 0;
  const auto* grad = vectors_of<kN>(static_cast<const T*>(given.grad), read, given.grad_stride);
  const auto* x = vectors_of<kN>(static_cast<const T*>(given.x), read, given.x_stride);
  const auto* weight = vectors_of<kN>(static_cast<const T*>(given.weight), 0, 0);
  const W offset = static_cast<W>(given.offset);
  Vector<T, kN> kept_grad[kKept], kept_x[kKept];
  W pulled = 0;
  each_vector<kGroup>(vectors, [&](int k, int64_t i) {
    const Vector<T, kN> g = grad[i], value = x[i], by = weight[i];
    if (k < kKept) kept_grad[k] = g, kept_x[k] = value;
#pragma unroll
    for (int j = 0; j < kN; ++j) pulled += rms_norm_pulled(g.at[j], by.at[j], value.at[j], offset);
  });
  pulled = joined_over_group<kGroup>(pulled, Add());
  if (vectors == 0) return;
  const W scale = static_cast<const W*>(given.scales)[row];
  const W pull = scale * scale * scale * pulled / static_cast<W>(given.width);
  auto* dx = vectors_of<kN>(static_cast<T*>(given.dx), row, given.width);
  const auto* beside = vectors_of<kN>(static_cast<const T*>(given.sum_grad), row, given.sum_grad_stride);
  each_vector<kGroup>(vectors, [&](int k, int64_t i) {
    const int at = k < kKept ? k : 0;
    const Vector<T, kN> g = k < kKept ? kept_grad[at] : grad[i], by = weight[i];
    Vector<T, kN> value = k < kKept ? kept_x[at] : x[i];
#pragma unroll
    for (int j = 0; j < kN; ++j) {
      value.at[j] = rms_norm_gradient(g.at[j], by.at[j], value.at[j], scale, offset, pull);
    }
    if constexpr (kAdds) add_to(value, beside[i]);
    dx[i] = value;
  });
}

inline constexpr int kWeightWarps = kRowThreads / 32;

// Stage one: a block has 32 vectors of columns and one slab of rows; its warps take the rows in turn.
template <class T, int kN>
__global__ void rms_norm_weight_kernel(RmsNormWeightLaunch given) {
  using W = DeviceWide<T>;
  __shared__ W sums[kWeightWarps][kN][32];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int64_t vector = blockIdx.x * int64_t{32} + lane;
  const bool inside = vector < given.width / kN;
  const int64_t height = (given.rows + given.slabs - 1) / given.slabs, first = blockIdx.y * height;
  const int64_t end = first + height < given.rows ? first + height : given.rows;
  W sum[kN] = {};
  for (int64_t row = first + warp; inside && row < end; row += kWeightWarps) {
    const Vector<T, kN> g = vectors_of<kN>(static_cast<const T*>(given.grad), row, given.grad_stride)[vector];
    const Vector<T, kN> x = vectors_of<kN>(static_cast<const T*>(given.x), row, given.x_stride)[vector];
    const W scale = static_cast<const W*>(given.scales)[row];
#pragma unroll
    for (int j = 0; j < kN; ++j) sum[j] += static_cast<W>(g.at[j]) * static_cast<W>(x.at[j]) * scale;
  }
#pragma unroll
  for (int j = 0; j < kN; ++j) sums[warp][j][lane] = sum[j];
  __syncthreads();
  if (warp != 0 || !inside) return;
  W* partial = static_cast<W*>(given.partial) + blockIdx.y * given.width + vector * kN;
#pragma unroll
  for (int j = 0; j < kN; ++j) {
    W total = sums[0][j][lane];
    for (int other = 1; other < kWeightWarps; ++other) total += sums[other][j][lane];
    partial[j] = total;
  }
}

// Stage two: one thread a column.
template <class W>
__global__ void rms_norm_weight_sum_kernel(RmsNormWeightLaunch given) {
  const int64_t column = blockIdx.x * int64_t{kRowThreads} + threadIdx.x;
  if (column >= given.width) return;
  W total = 0;
  for (int64_t slab = 0; slab < given.slabs; ++slab) {
    total += static_cast<const W*>(given.partial)[slab * given.width + column];
  }
  static_cast<W*>(given.dweight)[column] = total;
}

}  // namespace prentice
