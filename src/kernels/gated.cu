#include "kernels/aligned_rows.h"
#include "kernels/device_type.h"
#include "kernels/gated_kernel.h"

namespace prentice {

namespace {

// Rows along x; along y as few blocks of at most kRowThreads threads as a row of `vectors` takes, equally full.
struct Shape {
  dim3 blocks;
  unsigned threads;
};
Shape shape_of(int64_t rows, int64_t vectors) {
  const int64_t parts = (vectors + kRowThreads - 1) / kRowThreads, of_part = (vectors + parts - 1) / parts;
  return {dim3(static_cast<unsigned>(rows), static_cast<unsigned>(parts)),
          static_cast<unsigned>((of_part + 31) / 32 * 32)};
}

template <class Use>
int with_gate(Gate gate, Use&& use) {
  switch (gate) {
    case Gate::silu:
      return use.template operator()<Gate::silu>();
    case Gate::gelu:
      return use.template operator()<Gate::gelu>();
    case Gate::gelu_tanh:
      return use.template operator()<Gate::gelu_tanh>();
  }
  return cudaErrorInvalidValue;
}

template <class T, int kN>
int forward(const GatedLaunch& given, Gate gate, cudaStream_t stream) {
  const Shape shape = shape_of(given.rows, given.width / kN);
  return with_gate(gate, [&]<Gate kGate>() -> int {
    gated_kernel<T, kGate, kN><<<shape.blocks, shape.threads, 0, stream>>>(given);
    return cudaGetLastError();
  });
}

template <class T, int kN>
int backward(const GatedBackwardLaunch& given, Gate gate, cudaStream_t stream) {
  const Shape shape = shape_of(given.rows, given.width / kN);
  return with_gate(gate, [&]<Gate kGate>() -> int {
    gated_backward_kernel<T, kGate, kN><<<shape.blocks, shape.threads, 0, stream>>>(given);
    return cudaGetLastError();
  });
}

}  // namespace

int launch_gated(const GatedLaunch& given, Gate gate, CudaType type, void* stream) {
  if (given.rows == 0 || given.width == 0) return 0;
  const auto on = static_cast<cudaStream_t>(stream);
  return with_device_type(type, [&]<class T>() {
    const bool aligned =
        aligned_rows({{given.gate, given.gate_stride}, {given.up, given.up_stride}, {given.y, given.width}},
                     given.width, kVector<T>);
    return aligned ? forward<T, kVector<T>>(given, gate, on) : forward<T, 1>(given, gate, on);
  });
}

int launch_gated_backward(const GatedBackwardLaunch& given, Gate gate, CudaType type, void* stream) {
  if (given.rows == 0 || given.width == 0) return 0;
  const auto on = static_cast<cudaStream_t>(stream);
  return with_device_type(type, [&]<class T>() {
    const bool aligned = aligned_rows({{given.grad, given.grad_stride},
                                       {given.gate, given.gate_stride},
                                       {given.up, given.up_stride},
                                       {given.both, 2 * given.width}},
                                      given.width, kVector<T>);
    return aligned ? backward<T, kVector<T>>(given, gate, on) : backward<T, 1>(given, gate, on);
  });
}

}  // namespace prentice
