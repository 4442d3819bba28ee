// The plug-in's table of C functions (kernels/cuda_plugin.h). No exception crosses it.
#include <ATen/Context.h>
#include <ATen/cuda/CUDAContext.h>
#include <ATen/cuda/CUDAEvent.h>
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstring>
#include <exception>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "kernels/cuda_plugin.h"

namespace prentice {

namespace {

constexpr int kFailed = 1;

thread_local std::string g_error;

// 0 when `body` succeeds. LibTorch reports failures as exceptions, which must not reach the other side of a C function.
template <class Body>
int guarded(Body&& body) noexcept {
  try {
    at::globalContext().lazyInitDevice(at::kCUDA);
    body();
    return 0;
  } catch (const c10::Error& error) {
    g_error = error.what_without_backtrace();
  } catch (const std::exception& error) {
    g_error = error.what();
  } catch (...) {
    g_error = "an unknown exception";
  }
  return kFailed;
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

// The stream that is recorded on, of one device: the default one cannot be.
struct SideStream {
  at::cuda::CUDAStream stream;
  at::cuda::MempoolId_t pool = at::cuda::graph_pool_handle();  // graphs of one run replay one at a time, and share it
  std::optional<at::cuda::CUDAStream> before;
};

SideStream& side_stream(int device) {
  static std::map<int, SideStream> streams;
  const auto found = streams.find(device);
  if (found != streams.end()) return found->second;
  const auto index = static_cast<c10::DeviceIndex>(device);
  return streams.emplace(device, SideStream{.stream = at::cuda::getStreamFromPool(false, index)}).first->second;
}

void wait_for(const at::cuda::CUDAStream& waiting, const at::cuda::CUDAStream& other) {
  at::cuda::CUDAEvent event;
  event.record(other);
  event.block(waiting);
}

int side_stream_enter(int device) {
  return guarded([&] {
    SideStream& side = side_stream(device);
    side.before = at::cuda::getCurrentCUDAStream(static_cast<c10::DeviceIndex>(device));
    wait_for(side.stream, *side.before);
    at::cuda::setCurrentCUDAStream(side.stream);
  });
}

int side_stream_leave(int device) {
  return guarded([&] {
    SideStream& side = side_stream(device);
    at::cuda::setCurrentCUDAStream(*side.before);
    wait_for(*side.before, side.stream);
  });
}

// Ends a recording that went wrong, so that the allocator and the stream are as before.
void abandon(at::cuda::CUDAGraph& graph, int device, const at::cuda::MempoolId_t& pool) {
  if (guarded([&] { graph.capture_end(); }) != 0) {
    guarded([&] { c10::cuda::CUDACachingAllocator::endAllocateToPool(static_cast<c10::DeviceIndex>(device), pool); });
  }
  cudaGetLastError();
}

void* graph_record(int device, void (*pass)(void*), void* argument) {
  auto graph = std::make_unique<at::cuda::CUDAGraph>();
  const at::cuda::MempoolId_t pool = side_stream(device).pool;
  const auto gave_up = [&] {
    const std::string reason = g_error;
    abandon(*graph, device, pool);
    g_error = reason;
    return nullptr;
  };
  if (guarded([&] {
        C10_CUDA_CHECK(cudaDeviceSynchronize());
        c10::cuda::CUDACachingAllocator::emptyCache();  // what the passes that warmed up held is the recording's
        // Threads that load data allocate pinned memory meanwhile, which the global mode would forbid them.
        graph->capture_begin(pool, cudaStreamCaptureModeThreadLocal);
      }) != 0) {
    return gave_up();
  }
  if (guarded([&] { pass(argument); }) != 0) return gave_up();
  if (guarded([&] { graph->capture_end(); }) != 0) return gave_up();
  return graph.release();
}

int graph_replay(void* graph) {
  return guarded([&] { static_cast<at::cuda::CUDAGraph*>(graph)->replay(); });
}

void graph_forget(void* graph) {
  guarded([&] { delete static_cast<at::cuda::CUDAGraph*>(graph); });
}

const char* last_error() { return g_error.c_str(); }

constexpr CudaTable kTable = {.version = kCudaTableVersion,
                              .device_count = device_count,
                              .device_name = device_name,
                              .memory = memory,
                              .side_stream_enter = side_stream_enter,
                              .side_stream_leave = side_stream_leave,
                              .graph_record = graph_record,
                              .graph_replay = graph_replay,
                              .graph_forget = graph_forget,
                              .last_error = last_error};

}  // namespace

}  // namespace prentice

extern "C" __attribute__((visibility("default"))) const prentice::CudaTable* prentice_cuda_table() {
  return &prentice::kTable;
}
