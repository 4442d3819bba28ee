// One thread has kN values of one row: blocks along x are rows, blocks along y the parts of a row.
#pragma once

#include "kernels/device_row.h"
#include "kernels/gate_math.h"
#include "kernels/gated_launch.h"

namespace prentice {

template <class T, Gate kGate, int kN>
__global__ void gated_kernel(GatedLaunch given) {
  const int64_t row = blockIdx.x, i = blockIdx.y * int64_t{blockDim.x} + threadIdx.x;
  if (i >= given.width / kN) return;
  const Vector<T, kN> gate = vectors_of<kN>(static_cast<const T*>(given.gate), row, given.gate_stride)[i];
  Vector<T, kN> up = vectors_of<kN>(static_cast<const T*>(given.up), row, given.up_stride)[i];
#pragma unroll
  for (int j = 0; j < kN; ++j) up.at[j] = gated_value<kGate, T, DeviceWide<T>>(gate.at[j], up.at[j]);
  vectors_of<kN>(static_cast<T*>(given.y), row, given.width)[i] = up;
}

template <class T, Gate kGate, int kN>
__global__ void gated_backward_kernel(GatedBackwardLaunch given) {
  const int64_t row = blockIdx.x, i = blockIdx.y * int64_t{blockDim.x} + threadIdx.x;
  if (i >= given.width / kN) return;
  const Vector<T, kN> grad = vectors_of<kN>(static_cast<const T*>(given.grad), row, given.grad_stride)[i];
  Vector<T, kN> gate = vectors_of<kN>(static_cast<const T*>(given.gate), row, given.gate_stride)[i];
  Vector<T, kN> up = vectors_of<kN>(static_cast<const T*>(given.up), row, given.up_stride)[i];
#pragma unroll
  for (int j = 0; j < kN; ++j) {
    gated_gradient<kGate, T, DeviceWide<T>>(grad.at[j], gate.at[j], up.at[j], gate.at[j], up.at[j]);
  }
  auto* both = vectors_of<kN>(static_cast<T*>(given.both), row, 2 * given.width);
  both[i] = gate;
  both[given.width / kN + i] = up;
}

}  // namespace prentice
