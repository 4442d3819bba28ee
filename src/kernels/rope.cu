#include "kernels/aligned_rows.h"
#include "kernels/device_type.h"
#include "kernels/rope_kernel.h"

namespace prentice {

namespace {

template <class T, int kN>
int launch(const RopeLaunch& given, cudaStream_t stream) {
  const int64_t items = given.heads * (given.width - given.half) / kN;
  const auto threads = static_cast<unsigned>(items < kRowThreads ? (items + 31) / 32 * 32 : kRowThreads);
  rope_kernel<T, kN><<<static_cast<unsigned>(given.tokens), threads, 0, stream>>>(given);
  return cudaGetLastError();
}

}  // namespace

int launch_rope(const RopeLaunch& given, CudaType type, void* stream) {
  if (given.tokens == 0 || given.heads == 0 || given.width == 0) return 0;
  const auto on = static_cast<cudaStream_t>(stream);
  return with_device_type(type, [&]<class T>() {
    const bool aligned = given.width % kVector<T> == 0 && aligned_rows({{given.x, given.x_stride},
                                                                        {given.cosine, given.cosine_stride},
                                                                        {given.sine, given.sine_stride},
                                                                        {given.y, given.y_stride}},
                                                                       given.half, kVector<T>);
    return aligned ? launch<T, kVector<T>>(given, on) : launch<T, 1>(given, on);
  });
}

}  // namespace prentice
