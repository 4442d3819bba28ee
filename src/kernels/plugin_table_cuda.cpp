// The plug-in's table of C functions (kernels/cuda_plugin.h). No exception crosses it.
#include <ATen/Context.h>
#include <ATen/cuda/CUDAContext.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstring>

#include "kernels/cuda_plugin.h"

namespace prentice {

namespace {

constexpr int kFailed = 1;

// 0 when `body` succeeds. LibTorch reports failures as exceptions, which must not reach the other side of a C function.
template <class Body>
int guarded(Body&& body) noexcept {
  try {
    at::globalContext().lazyInitDevice(at::kCUDA);
    body();
    return 0;
  } catch (...) {
    return kFailed;
  }
}

int device_count() { return static_cast<int>(c10::cuda::device_count()); }

int device_name(int device, char* name, size_t size) {
  return guarded([&] {
    const char* found = at::cuda::getDeviceProperties(static_cast<c10::DeviceIndex>(device))->name;
    const size_t length = std::min(std::strlen(found), size - 1);
    std::copy(found, found + length, name);
    name[length] = '\0';
  });
}

int memory(int device, size_t* free, size_t* total) {
  return guarded([&] {
    const c10::cuda::CUDAGuard guard(static_cast<c10::DeviceIndex>(device));
    C10_CUDA_CHECK(cudaMemGetInfo(free, total));
  });
}

constexpr CudaTable kTable = {
    .version = kCudaTableVersion, .device_count = device_count, .device_name = device_name, .memory = memory};

}  // namespace

}  // namespace prentice

extern "C" __attribute__((visibility("default"))) const prentice::CudaTable* prentice_cuda_table() {
  return &prentice::kTable;
}
