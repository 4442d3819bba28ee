// Which of RMSNorm's kernels a matrix gets: by its type, by the length of its rows, and by whether they can be moved
// 16 bytes at a time.
#include "kernels/aligned_rows.h"
#include "kernels/device_type.h"
#include "kernels/rms_norm_kernel.h"

namespace prentice {

namespace {

// use.operator()<kGroup>() for rows of `vectors` vectors: a thread keeps at most kKept of them, where it can.
template <class Use>
int with_group(int64_t vectors, Use&& use) {
  if (vectors <= 16) return use.template operator()<16>();
  if (vectors <= 32 * kKept) return use.template operator()<32>();
  return use.template operator()<kRowThreads>();
}

template <int kGroup>
unsigned blocks_of(int64_t rows) {
  constexpr int64_t kRows = kRowThreads / kGroup;
  return static_cast<unsigned>((rows + kRows - 1) / kRows);
}

// use.operator()<yes>()
template <class Use>
int with(bool yes, Use&& use) {
  return yes ? use.template operator()<true>() : use.template operator()<false>();
}

template <class T, bool kAdds, int kN>
int forward(const RmsNormLaunch& given, cudaStream_t stream) {
  return with_group(given.width / kN, [&]<int kGroup>() -> int {
    const auto blocks = blocks_of<kGroup>(given.rows);
    if (given.offset == 0) {
      rms_norm_kernel<T, false, kAdds, kGroup, kN><<<blocks, kRowThreads, 0, stream>>>(given);
    } else {
      rms_norm_kernel<T, true, kAdds, kGroup, kN><<<blocks, kRowThreads, 0, stream>>>(given);
    }
    return cudaGetLastError();
  });
}

template <class T, bool kAdds, int kN>
int backward(const RmsNormBackwardLaunch& given, cudaStream_t stream) {
  return with_group(given.width / kN, [&]<int kGroup>() -> int {
    rms_norm_backward_kernel<T, kAdds, kGroup, kN><<<blocks_of<kGroup>(given.rows), kRowThreads, 0, stream>>>(given);
    return cudaGetLastError();
  });
}

template <class T, int kN>
int weight(const RmsNormWeightLaunch& given, cudaStream_t stream) {
  const int64_t tiles = (given.width / kN + 31) / 32;
  rms_norm_weight_kernel<T, kN>
      <<<dim3(static_cast<unsigned>(tiles), static_cast<unsigned>(given.slabs)), kRowThreads, 0, stream>>>(given);
  const auto blocks = static_cast<unsigned>((given.width + kRowThreads - 1) / kRowThreads);
  rms_norm_weight_sum_kernel<DeviceWide<T>><<<blocks, kRowThreads, 0, stream>>>(given);
  return cudaGetLastError();
}

}  // namespace

int launch_rms_norm(const RmsNormLaunch& given, CudaType type, void* stream) {
  if (given.rows == 0 || given.width == 0) return 0;
  const auto on = static_cast<cudaStream_t>(stream);
  return with_device_type(type, [&]<class T>() {
    const bool aligned = aligned_rows({{given.x, given.x_stride},
                                       {given.weight, 0},
                                       {given.y, given.width},
                                       {given.residual, given.residual_stride},
                                       {given.sum, given.width}},
                                      given.width, kVector<T>);
    return with(given.residual != nullptr, [&]<bool kAdds>() {
      return aligned ? forward<T, kAdds, kVector<T>>(given, on) : forward<T, kAdds, 1>(given, on);
    });
  });
}

int launch_rms_norm_backward(const RmsNormBackwardLaunch& given, CudaType type, void* stream) {
  if (given.rows == 0 || given.width == 0) return 0;
  const auto on = static_cast<cudaStream_t>(stream);
  return with_device_type(type, [&]<class T>() {
    const bool aligned = aligned_rows({{given.grad, given.grad_stride},
                                       {given.x, given.x_stride},
                                       {given.weight, 0},
                                       {given.dx, given.width},
                                       {given.sum_grad, given.sum_grad_stride}},
                                      given.width, kVector<T>);
    return with(given.sum_grad != nullptr, [&]<bool kAdds>() {
      return aligned ? backward<T, kAdds, kVector<T>>(given, on) : backward<T, kAdds, 1>(given, on);
    });
  });
}

int launch_rms_norm_weight(const RmsNormWeightLaunch& given, CudaType type, void* stream) {
  if (given.width == 0) return 0;
  const auto on = static_cast<cudaStream_t>(stream);
  return with_device_type(type, [&]<class T>() {
    const bool aligned =
        aligned_rows({{given.grad, given.grad_stride}, {given.x, given.x_stride}}, given.width, kVector<T>);
    return aligned ? weight<T, kVector<T>>(given, on) : weight<T, 1>(given, on);
  });
}

}  // namespace prentice
