// A block has the heads of one token, whose angles it reads from memory once: a thread turns kN pairs of one head, or
// copies kN of the features that pass through.
#pragma once

#include "kernels/device_row.h"
#include "kernels/rope_launch.h"
#include "kernels/rope_math.h"

namespace prentice {

template <class T, int kN>
__global__ void rope_kernel(RopeLaunch given) {
  using W = DeviceWide<T>;
  const int64_t token = blockIdx.x;
  const int pairs = static_cast<int>(given.half) / kN;
  const int rest = static_cast<int>(given.width - 2 * given.half) / kN, of_head = pairs + rest;
  const auto* x = vectors_of<kN>(static_cast<const T*>(given.x), token, given.x_stride);
  const auto* cosine = vectors_of<kN>(static_cast<const T*>(given.cosine), token, given.cosine_stride);
  const auto* sine = vectors_of<kN>(static_cast<const T*>(given.sine), token, given.sine_stride);
  auto* y = vectors_of<kN>(static_cast<T*>(given.y), token, given.y_stride);
  const W direction = static_cast<W>(given.direction);
  const int items = static_cast<int>(given.heads) * of_head;
  for (int item = threadIdx.x; item < items; item += blockDim.x) {
    const int head = item / of_head, i = item % of_head, at = head * static_cast<int>(given.width / kN);
    if (i >= pairs) {
      y[at + pairs + i] = x[at + pairs + i];
      continue;
    }
    Vector<T, kN> low = x[at + i], high = x[at + pairs + i];
    const Vector<T, kN> c = cosine[i], s = sine[i];
#pragma unroll
    for (int j = 0; j < kN; ++j) {
      turn_pair(low.at[j], high.at[j], c.at[j], s.at[j], direction, low.at[j], high.at[j]);
    }
    y[at + i] = low;
    y[at + pairs + i] = high;
  }
}

}  // namespace prentice
